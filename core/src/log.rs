//! One macro for diagnostics: to the `log` facade with the feature `log`, to `defmt` with the feature `defmt`, nothing without.

macro_rules! debug {
    ($($argument:tt)*) => {{
        #[cfg(feature = "log")]
        ::log::debug!($($argument)*);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($($argument)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        if false {
            // Type-checked all the same, and nothing is left of it.
            let _ = ::core::format_args!($($argument)*);
        }
    }};
}

pub(crate) use debug;
