//! The mesh on a real API server: the chart by helm, the real processes with the chart's rights, and
//! pods created by kubectl and by controllers, from the installation to the removal.
//!
//! A failed step does not hide the others; all failures are told at the end.

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/mount.rs"]
mod mount;

mod abuse;
mod admission;
mod api;
mod availability;
mod collection;
mod definitions;
mod examples;
mod footprint;
mod installation;
mod neighbours;
mod refusals;
mod review;
mod volumes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use api::Api;
use cluster::{Cluster, say};
use installation::{Installation, make_namespace};

/// A namespace in the mesh.
const TEAM: &str = "team";
/// A namespace that is not.
const PLAIN: &str = "plain";

#[test]
fn the_mesh_on_an_api_server() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    cluster.enter(|| story(&cluster));
}

fn story(cluster: &Cluster) {
    let api = Api::new(cluster);
    make_namespace(&api, TEAM, true);
    make_namespace(&api, PLAIN, false);
    let mut mesh = Installation::new(cluster, &api);
    let mut steps = Steps::default();
    for &(name, look) in LOOKS {
        steps.go(name, || look(&mesh));
    }
    for &(name, shake) in SHAKES {
        steps.go(name, || shake(&mut mesh));
    }
    steps.go("the rights of the chart were enough", || {
        footprint::no_right_was_missing(&mesh);
    });
    steps.go("removed, the chart leaves nothing in the way", || {
        footprint::after_removal_pods_are_created_as_ever(mesh);
    });
    steps.end();
}

type Look = fn(&Installation<'_>);

/// What can be seen while both replicas are well.
const LOOKS: &[(&str, Look)] = &[
    (
        "the examples, as users create them, are injected",
        examples::are_injected,
    ),
    (
        "the examples to be refused are refused",
        examples::those_to_be_refused_are_refused,
    ),
    (
        "nothing outside labelled namespaces is touched",
        examples::only_labelled_namespaces_are_touched,
    ),
    (
        "a refused Deployment's ReplicaSet says what is wrong",
        refusals::of_a_deployment_are_told_on_its_replica_set,
    ),
    (
        "a refused bare pod: kubectl and the namespace say what is wrong",
        refusals::of_a_bare_pod_are_told_by_kubectl_and_on_the_namespace,
    ),
    (
        "case 10: the opt-out label",
        abuse::case_10_opting_out_is_the_platforms_to_allow,
    ),
    (
        "case 12: a namespace without its label",
        abuse::case_12_a_namespace_without_its_label,
    ),
    ("case 13: hostNetwork", abuse::case_13_the_nodes_network),
    (
        "case 14: forged containers and annotations",
        abuse::case_14_what_only_looks_injected,
    ),
    (
        "case 17: ends are never held up",
        abuse::case_17_ends_are_never_held_up,
    ),
    (
        "case 18: an unknown namespace",
        abuse::case_18_a_namespace_that_nobody_knows,
    ),
    ("case 19: the proxy's user", abuse::case_19_the_proxys_user),
    (
        "case 20: rights over the network",
        abuse::case_20_rights_over_the_network,
    ),
    (
        "case 22: exclusions beyond the platform's list",
        abuse::case_22_exclusions_beyond_the_platforms_list,
    ),
    (
        "case 25: into the proxy's process or files",
        abuse::case_25_into_the_proxys_process_or_files,
    ),
    (
        "a pod that pretends to mirror a node's file",
        abuse::a_pod_that_pretends_to_mirror_a_nodes_file,
    ),
    (
        "case 32: a dry run makes no event",
        refusals::of_a_dry_run_make_no_event,
    ),
    (
        "case 32: the same review twice is answered alike",
        abuse::case_32_the_same_review_twice,
    ),
    (
        "case 33: beside other webhooks, in either order",
        neighbours::in_either_order_the_outcome_is_right_and_stays,
    ),
    (
        "case 33: a neighbour that sets hostNetwork",
        neighbours::a_neighbour_that_asks_for_the_nodes_network_is_refused,
    ),
    (
        "the definitions' defaults",
        definitions::the_server_writes_the_defaults_out,
    ),
    (
        "the definitions accept and refuse",
        definitions::the_table_of_what_is_accepted_and_refused,
    ),
    (
        "collected pods: webhook and inject agree, the server accepts",
        collection::webhook_and_offline_agree_and_the_server_accepts,
    ),
    (
        "what injection adds to stored pods is bounded",
        footprint::what_injection_adds_to_stored_pods_is_bounded,
    ),
    (
        "case 31: certificates rotate under load",
        availability::certificates_rotate_under_load_without_a_failed_creation,
    ),
];

type Shake = fn(&mut Installation<'_>);

/// What ends replicas, and starts others in their place.
const SHAKES: &[(&str, Shake)] = &[
    (
        "case 11: without any webhook",
        availability::without_any_webhook_nothing_gets_in_uninjected,
    ),
    (
        "case 34: a burst that one replica does not survive",
        availability::a_burst_that_one_replica_does_not_survive,
    ),
    (
        "a replica ends in order under load",
        availability::a_replica_ends_in_order_without_a_failed_creation,
    ),
];

/// Names, times and failures of what has been gone through.
#[derive(Default)]
struct Steps {
    failed: Vec<&'static str>,
}

impl Steps {
    fn go(&mut self, name: &'static str, step: impl FnOnce()) {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(step));
        let took = began.elapsed().as_secs_f32();
        if outcome.is_ok() {
            say(&format!("ok    {name} ({took:.1} s)"));
        } else {
            // The panic has been told where it happened.
            say(&format!("FAIL  {name} ({took:.1} s)"));
            self.failed.push(name);
        }
    }

    fn end(self) {
        assert!(self.failed.is_empty(), "failed: {:#?}", self.failed);
    }
}
