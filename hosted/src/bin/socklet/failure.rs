use core::fmt;
use std::process::ExitCode;

/// Why the command ends without success: one sentence that names the thing and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The arguments do not fit together.
    Usage(String),
    /// It did not work.
    Failed(String),
}

impl Failure {
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::Usage(text.to_string())
    }

    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self::Failed(text.to_string())
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => write!(f, "{text} (`socklet --help` has all options)"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for Failure {}
