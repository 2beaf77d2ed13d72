//! The conformance suite over every stack of the project.

use socklet::nal::OnEnd;
use socklet_tests::{Side, conformance, worlds};

conformance!(ideal, worlds::IdealWorld::new);
conformance!(smoltcp_in_memory, worlds::CableWorld::new);
conformance!(smoltcp_in_little_memory, worlds::CableWorld::tiny);
conformance!(embedded_nal_server, |version| worlds::NalWorld::new(version, Side::Server, OnEnd::Zero));
conformance!(embedded_nal_client, |version| worlds::NalWorld::new(version, Side::Client, OnEnd::PipeClosed));
#[cfg(unix)]
conformance!(os_sockets, worlds::OsWorld::new);
#[cfg(unix)]
conformance!(std_embedded_nal_server, |version| worlds::NalStdWorld::new(version, Side::Server));
#[cfg(unix)]
conformance!(std_embedded_nal_client, |version| worlds::NalStdWorld::new(version, Side::Client));
