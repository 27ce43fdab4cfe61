//! The mesh on a real API server: the chart by helm, the real processes with the chart's rights, and
//! pods created by kubectl and by controllers, from the installation to the removal.
//!
//! A failed step does not hide the others; all failures are told at the end.

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/mount.rs"]
mod mount;

mod admission;
mod api;
mod examples;
mod installation;
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
    let mesh = Installation::new(cluster, &api);
    let mut steps = Steps::default();
    steps.go("the examples, as users create them, are injected", || {
        examples::are_injected(&mesh);
    });
    steps.go("nothing else is touched", || {
        examples::only_labelled_namespaces_are_touched(&mesh);
    });
    steps.end();
}

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
        match outcome {
            Ok(()) => say(&format!("ok     {name} ({took:.1} s)")),
            // The panic has been told where it happened.
            Err(_) => {
                say(&format!("FAILED {name} ({took:.1} s)"));
                self.failed.push(name);
            }
        }
    }

    fn end(self) {
        assert!(self.failed.is_empty(), "failed: {:#?}", self.failed);
    }
}
