use crate::setup::Setup;
use core::error::Error;

pub(crate) fn build() -> Result<(), String> {
    Err("lwIP is left out: not done yet".into())
}

pub(super) fn run(_setup: Setup) -> Result<(), Box<dyn Error>> {
    Err("not built".into())
}
