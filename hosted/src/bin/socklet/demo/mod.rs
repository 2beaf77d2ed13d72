use crate::args::DemoArgs;
use crate::failure::Failure;
pub(crate) fn run(_args: &DemoArgs) -> Result<(), Failure> {
    Err(Failure::failed("the demo is not there yet; try `socklet serve`"))
}
