use super::*;
use core::cell::RefCell;

/// A kernel that refuses some flags of TUNSETIFF and of TUNSETOFFLOAD.
#[derive(Default)]
struct Kernel {
    refused_iff: u16,
    refused_offloads: u32,
    offloads_asked: RefCell<Vec<u32>>,
}

impl Kernel {
    /// The TUNSETIFF flags that were granted, and whether frames have a header.
    fn negotiate(&self, options: &Options) -> Result<(u16, bool), Error> {
        let attach = |flags: u16| {
            if flags & self.refused_iff != 0 {
                return Err(Error::Attach { name: options.name.clone(), source: Errno::INVAL.into() });
            }
            Ok(flags)
        };
        negotiate(options, attach, |_, flags| {
            self.offloads_asked.borrow_mut().push(flags);
            if flags & self.refused_offloads == 0 { Ok(()) } else { Err(Errno::INVAL) }
        })
    }
}

#[test]
fn offloads_are_asked_for_at_once() {
    let kernel = Kernel::default();
    let (flags, vnet) = kernel.negotiate(&Options::tap("t")).unwrap();
    assert_eq!(flags, sys::IFF_TAP | sys::IFF_NO_PI | sys::IFF_VNET_HDR);
    assert!(vnet);
    assert_eq!(kernel.offloads_asked.take(), [7]);
}

#[test]
fn refused_receive_offloads_leave_the_header_and_what_is_granted() {
    let kernel = Kernel { refused_offloads: sys::TUN_F_TSO6, ..Kernel::default() };
    let (_, vnet) = kernel.negotiate(&Options::tun("t")).unwrap();
    assert!(vnet);
    assert_eq!(kernel.offloads_asked.take(), [7, 3]);
}

#[test]
fn a_refused_header_means_no_offloads() {
    let kernel = Kernel { refused_iff: sys::IFF_VNET_HDR, ..Kernel::default() };
    let options = Options { multi_queue: true, ..Options::tun("t") };
    let (flags, vnet) = kernel.negotiate(&options).unwrap();
    assert_eq!(flags, sys::IFF_TUN | sys::IFF_NO_PI | sys::IFF_MULTI_QUEUE);
    assert!(!vnet);
    assert_eq!(kernel.offloads_asked.take(), [0]);
}

#[test]
fn an_interface_of_another_kind_is_an_error() {
    let kernel = Kernel { refused_iff: sys::IFF_TAP, ..Kernel::default() };
    let error = kernel.negotiate(&Options::tap("t")).unwrap_err();
    assert!(error.to_string().contains("the interface t cannot be opened"), "{error}");
}

#[test]
fn a_name_that_no_interface_can_have_is_refused() {
    for name in ["", "a name", "a/b", "sixteen-bytes-ab", ".."] {
        assert!(matches!(Tap::open(&Options::tap(name)), Err(Error::Name(_))), "{name:?}");
    }
}
