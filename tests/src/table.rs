//! The one list of behaviours, from which the tests are made.

/// Makes one `#[test]` for each behaviour and IP version, in the module `$module`.
///
/// `$world` makes a [`World`](crate::World) from an [`IpVersion`](crate::IpVersion): a function, or a closure without captures. The front
/// page of this crate has an example.
#[macro_export]
macro_rules! conformance {
    ($module:ident, $world:expr) => {
        $crate::__behaviours! { $module, $world }
    };
}

/// A behaviour and its name.
pub type Behaviour = (&'static str, fn(&mut crate::Testbed));

macro_rules! behaviours {
    ($dollar:tt $($group:ident { $($name:ident)* })*) => {
        /// All of them, for a runner of one's own.
        pub const BEHAVIOURS: &[Behaviour] = &[$($((stringify!($name), crate::behaviours::$group::$name)),*),*];

        #[doc(hidden)]
        #[macro_export]
        macro_rules! __behaviours {
            ($dollar module:ident, $dollar world:expr) => {
                mod $dollar module {
                    use super::*;

                    mod ipv4 {
                        use super::*;

                        fn world() -> Box<dyn $dollar crate::World> {
                            Box::new(($dollar world)($dollar crate::IpVersion::V4))
                        }

                        $($(
                            #[test]
                            fn $name() {
                                $dollar crate::run(Box::new(world), $dollar crate::behaviours::$group::$name);
                            }
                        )*)*
                    }

                    mod ipv6 {
                        use super::*;

                        fn world() -> Box<dyn $dollar crate::World> {
                            Box::new(($dollar world)($dollar crate::IpVersion::V6))
                        }

                        $($(
                            #[test]
                            fn $name() {
                                $dollar crate::run(Box::new(world), $dollar crate::behaviours::$group::$name);
                            }
                        )*)*
                    }
                }
            };
        }
    };
}

behaviours! { $
    addresses {
        a_client_needs_no_bind_and_gets_a_free_port
        a_servers_port_must_be_bound
        listening_on_port_0_gets_a_free_port_or_an_error
        accept_gives_a_new_socket_and_the_peers_address
        both_ends_agree_on_the_addresses
        a_client_can_bind_its_port
        a_client_can_bind_its_address
        an_address_of_another_host_cannot_be_bound
        an_unspecified_address_means_every_address
        two_listeners_on_one_port_is_address_in_use
        one_local_port_does_not_connect_twice_to_one_peer
        a_port_is_free_again_after_close_listener
    }
    listening {
        a_listening_socket_carries_no_data
        accept_takes_the_oldest_first
        bytes_sent_before_the_accept_are_received_after_it
        closing_an_accepted_socket_ends_that_connection_alone
        closing_the_listener_refuses_newcomers_and_leaves_the_accepted_alive
        closing_the_listener_resets_those_that_wait_for_accept
        accept_after_close_listener_is_an_error
        a_queued_connection_that_was_reset_does_not_lose_its_siblings
        a_full_backlog_defers_and_the_retry_gets_in
        a_full_backlog_refuses_when_it_is_told_to
        two_clients_with_one_slot_are_served_in_turn
        a_server_without_a_slot_refuses_when_it_is_told_to
        a_restarted_server_binds_its_port_at_once
        a_client_comes_back_from_the_same_port_at_once
    }
    data {
        send_queues_until_the_buffer_is_full_then_would_block
        recv_would_block_on_an_empty_buffer
        recv_takes_no_more_than_it_is_asked_for
        zero_length_send_and_recv_do_nothing
        send_before_the_handshake_is_over_would_block
        the_zero_copy_forms_equal_the_copying_ones
        a_zero_copy_call_that_uses_nothing_changes_nothing
        unsent_counts_down_to_zero
        many_clients_at_once_do_not_disturb_one_another
        a_long_stream_both_ways_at_once_is_exact
    }
    ending {
        when_the_peer_closes_recv_gives_all_its_data_then_end_of_stream
        half_close_both_ways
        a_half_closed_connection_carries_more_than_the_buffers_hold
        shutdown_twice_is_harmless
        send_after_shutdown_is_closed
        shutdown_while_connecting_is_invalid
        both_ends_learn_that_all_was_delivered
        close_delivers_what_is_queued
        close_with_unread_input_delivers_what_is_queued
        a_reset_is_told_apart_from_end_of_stream_and_timeout
        calls_after_a_reset_say_reset_every_time
        abort_forgets_what_is_queued
        a_connection_can_be_given_up_while_it_is_connecting
        connect_to_a_closed_port_is_refused
        connect_to_a_silent_address_times_out_at_the_deadline
        a_failed_connection_keeps_its_reason_until_it_is_closed
    }
    handles {
        a_stale_handle_is_an_error_and_not_another_connection
        a_closed_listener_is_stale
        readiness_is_reported_once_for_each_change_with_the_tag
        readiness_tells_of_ends_and_of_room
        a_closed_connection_is_not_reported_as_ready
        poll_says_when_something_changed
        connect_without_a_slot_is_an_error_until_one_is_free
        slots_are_used_again_and_again
        what_a_stack_cannot_do_is_unsupported
    }
}
