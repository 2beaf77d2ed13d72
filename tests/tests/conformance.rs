//! The conformance suite over every stack of the project.

use socklet_tests::{conformance, worlds};

conformance!(ideal, worlds::IdealWorld::new);
conformance!(smoltcp_in_memory, worlds::CableWorld::new);
#[cfg(unix)]
conformance!(os_sockets, worlds::OsWorld::new);
