//! The bootstrap with everything in place that pods have in common.
//!
//! It is made once for a configuration, so that an admission pays only for what its pod adds. It
//! knows where text goes in, not what the probes' text says: that is [`super::probes`].

use std::fmt::Write;

use sparkmesh_policy::names;
use sparkmesh_policy::port::Port;

use super::probes::Rendered;
use super::quote::push_quoted;
use super::{AppProbe, CERTIFICATE, Control, INBOUND_RBAC, TRUST_BUNDLE};

/// The bootstrap of every pod that one control plane feeds, but for the pod's own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    start: String,
    after_options: String,
    after_clusters: String,
    after_routes: String,
    after_filters: String,
    end: String,
    http_cluster_options: String,
    /// The first HTTP chain, before and after its port.
    http_chain: (String, String),
}

/// Where text goes in that is not ours, in the order of `proxy.yaml`: of the mesh, then of the pod.
const SEAMS: [&str; 7] = [
    "@CONTROL_TARGET@",
    "@CONTROL_CA@",
    "@HTTP_CLUSTER_OPTIONS@",
    "@PROBE_CLUSTERS@",
    "@PROBE_ROUTES@",
    "@PROBE_FILTERS@",
    "@HTTP_CHAINS@",
];

impl Template {
    /// Renders what does not differ from pod to pod.
    #[must_use]
    pub fn new(control: &Control) -> Template {
        // Split first, filled in after: what others wrote is never searched for a seam.
        let source = with_names(&joined(include_str!("proxy.yaml")));
        let [
            mut start,
            after_target,
            after_ca,
            after_options,
            after_clusters,
            after_routes,
            after_filters,
            end,
        ] = split_at_seams(&source);
        push_quoted(&mut start, &format!("{}:{}", control.host, control.port));
        start.push_str(&after_target);
        if let Some(pem) = &control.ca_pem {
            start.push_str("rootCerts: {inlineString: ");
            push_quoted(&mut start, pem.trim());
            start.push('}');
        }
        start.push_str(&after_ca);
        let chain = joined(include_str!("http.yaml"));
        let (before_port, after_port) = chain.split_once("@PORT@").expect("http.yaml has a port");
        Template {
            start,
            after_options,
            after_clusters,
            after_routes,
            after_filters,
            end,
            http_cluster_options: joined(include_str!("http_cluster_options.yaml")),
            http_chain: (before_port.to_owned(), after_port.to_owned()),
        }
    }

    /// The text for Envoy's `--config-yaml` in a container's `args`, where Kubernetes expands
    /// `$(POD_IP)`, `$(POD_NAME)` and `$(POD_NAMESPACE)`: the container must define all three.
    ///
    /// `http_ports` are inbound ports known to speak HTTP, without repeats; `probes` are those of
    /// the application that pass through the proxy.
    #[must_use]
    pub fn render(&self, http_ports: &[Port], probes: &[AppProbe]) -> String {
        let mut options = OnceSaid::new(&self.http_cluster_options, HTTP_CLUSTER_OPTIONS_AGAIN);
        let of_inbound = (!http_ports.is_empty()).then(|| options.say());
        let probes = Rendered::of(probes, options);
        let mut out = String::with_capacity(self.capacity(http_ports.len(), &probes));
        out.push_str(&self.start);
        if let Some(options) = of_inbound {
            out.push(',');
            out.push_str(options);
        }
        for part in [
            &self.after_options,
            &probes.clusters,
            &self.after_clusters,
            &probes.routes,
            &self.after_routes,
            &probes.filters,
            &self.after_filters,
        ] {
            out.push_str(part);
        }
        self.push_http_chains(&mut out, http_ports);
        out.push_str(&self.end);
        out
    }

    fn push_http_chains(&self, out: &mut String, ports: &[Port]) {
        let Some((first, others)) = ports.split_first() else {
            return;
        };
        let (before, after) = &self.http_chain;
        write!(out, ",{before}{first}{after}").expect("a String takes every write");
        for port in others {
            write!(out, ",{{filterChainMatch: {{transportProtocol: tls,destinationPort: {port}}},{NEXT_CHAIN}")
                .expect("a String takes every write");
        }
    }

    /// At least the length of what will be rendered, so that it is allocated once.
    fn capacity(&self, http_ports: usize, probes: &Rendered) -> usize {
        [
            &self.start,
            &self.after_options,
            &self.after_clusters,
            &self.after_routes,
            &self.after_filters,
            &self.end,
            &self.http_cluster_options,
            &self.http_chain.0,
            &self.http_chain.1,
            &probes.clusters,
            &probes.routes,
            &probes.filters,
        ]
        .into_iter()
        .map(String::len)
        .sum::<usize>()
            + http_ports * (NEXT_CHAIN.len() + 80)
    }
}

/// A text with an anchor, and what refers to it.
pub(super) struct OnceSaid<'a> {
    whole: Option<&'a str>,
    again: &'a str,
}

impl<'a> OnceSaid<'a> {
    fn new(whole: &'a str, again: &'a str) -> OnceSaid<'a> {
        OnceSaid {
            whole: Some(whole),
            again,
        }
    }

    /// The whole text the first time, then what refers to it.
    pub(super) fn say(&mut self) -> &'a str {
        self.whole.take().unwrap_or(self.again)
    }
}

/// What every cluster that speaks HTTP says but the first.
const HTTP_CLUSTER_OPTIONS_AGAIN: &str = "typedExtensionProtocolOptions: *o";

/// What every HTTP chain but the first says after its match.
const NEXT_CHAIN: &str = "transportSocketConnectTimeout: 5s,transportSocket: *tls,filters: *web}";

/// The lines without comments, indentation and line breaks.
fn joined(source: &str) -> String {
    source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with('#'))
        .collect()
}

/// The text before, between and after [`SEAMS`].
fn split_at_seams(source: &str) -> [String; SEAMS.len() + 1] {
    let mut rest = source;
    std::array::from_fn(|index| match SEAMS.get(index) {
        Some(seam) => {
            let (before, after) = rest.split_once(seam).expect("proxy.yaml holds every seam");
            rest = after;
            before.to_owned()
        }
        None => rest.to_owned(),
    })
}

fn with_names(source: &str) -> String {
    source
        .replace("@RUN_FOLDER@", names::RUN_FOLDER)
        .replace("@TOKEN_FOLDER@", names::TOKEN_FOLDER)
        .replace("@TOKEN_FILE@", names::TOKEN_FILE)
        .replace("@CERTIFICATE@", CERTIFICATE)
        .replace("@TRUST_BUNDLE@", TRUST_BUNDLE)
        .replace("@INBOUND_RBAC@", INBOUND_RBAC)
        .replace("@METRICS@", &Port::METRICS.to_string())
        .replace("@HEALTH@", &Port::HEALTH.to_string())
        .replace("@INBOUND@", &Port::INBOUND.to_string())
        .replace("@OUTBOUND@", &Port::OUTBOUND.to_string())
}
