//! One macro for diagnostics: the `log` facade with the feature `log`, nothing without.

macro_rules! debug {
    ($($argument:tt)*) => {{
        #[cfg(feature = "log")]
        ::log::debug!($($argument)*);
        #[cfg(not(feature = "log"))]
        if false {
            // Type-checked all the same, and nothing is left of it.
            let _ = ::core::format_args!($($argument)*);
        }
    }};
}

pub(crate) use debug;
