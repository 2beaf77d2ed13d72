use crate::tap;
use core::fmt;
use std::io;

/// Why there is no private network, and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The process has more than one thread.
    Threads,
    /// The system does not let this user have a user namespace.
    UserNamespace(io::Error),
    /// The system does not let this process have a network namespace.
    NetworkNamespace(io::Error),
    /// No thread can be started.
    Thread(io::Error),
    /// An interface cannot be used.
    Interface(tap::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads => f.write_str(
                "a user namespace can be entered only while the process has one thread: \
                 call `sandbox::enter` first in `main`, or run as root",
            ),
            Self::UserNamespace(source) => write!(
                f,
                "this system does not let you make a user namespace ({source}): \
                 allow it (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or run as root"
            ),
            Self::NetworkNamespace(source) => write!(
                f,
                "a network namespace cannot be made ({source}): \
                 allow it (sysctl user.max_net_namespaces, kernel.apparmor_restrict_unprivileged_userns), \
                 or run as root with CAP_SYS_ADMIN"
            ),
            Self::Thread(source) => {
                write!(f, "no thread can be started for the sandbox ({source}): raise `ulimit -u`")
            }
            Self::Interface(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Threads => None,
            Self::UserNamespace(source) | Self::NetworkNamespace(source) | Self::Thread(source) => {
                Some(source)
            }
            Self::Interface(error) => error.source(),
        }
    }
}

impl From<tap::Error> for Error {
    fn from(error: tap::Error) -> Self {
        Self::Interface(error)
    }
}
