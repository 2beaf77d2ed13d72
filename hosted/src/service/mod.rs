//! Ready-made services for a host, beside those of [`socklet::service`].

mod chat;
mod pipe;

pub use chat::{Chat, ChatLimits};
pub use pipe::{Feed, Pipe};
