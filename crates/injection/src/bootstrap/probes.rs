//! The application's probes, as the proxy answers them in the clear for the kubelet.
//!
//! An HTTP probe is passed on to the application there and then, and of its answer only the status
//! comes back. Envoy has no such way for TCP and gRPC: those it asks by itself every second, and
//! answers from what it last saw. Which path belongs to which container is not known here.

use std::collections::HashMap;
use std::fmt::{Arguments, Write};

use sparkmesh_policy::port::Port;

use super::quote::push_quoted;
use super::request_target::request_target;
use super::template::OnceSaid;
use super::{AppProbe, Check};

/// What probes add to the bootstrap, each text for its place there, with the commas it needs.
#[derive(Default)]
pub(super) struct Rendered {
    pub(super) clusters: String,
    pub(super) routes: String,
    pub(super) filters: String,
}

impl Rendered {
    pub(super) fn of(probes: &[AppProbe], http_options: OnceSaid<'_>) -> Rendered {
        let mut clusters = Clusters::new(http_options);
        let mut routes = String::new();
        let mut filters = String::new();
        for probe in probes {
            let cluster = clusters.index_of(Target::of(probe));
            match &probe.check {
                Check::Http { path, .. } => push_route(&mut routes, probe, path, cluster),
                Check::Tcp { .. } | Check::Grpc { .. } => push_filter(&mut filters, probe, cluster),
            }
        }
        if !routes.is_empty() {
            routes.insert_str(0, NOTHING_ELSE);
            // Of all filters the first, so that it is the last to see an answer.
            filters.insert_str(0, STATUS_ONLY);
        }
        Rendered {
            clusters: clusters.text,
            routes,
            filters,
        }
    }
}

/// Answers anew with the status alone: the body and the headers are the application's, and this
/// port's visitors are not its peers. A redirect loses its target too.
const STATUS_ONLY: &str = "{name: c,typedConfig: {\"@type\": x/envoy.extensions.filters.http.custom_response.v3.CustomResponse,\
    customResponseMatcher: {onNoMatch: {action: {name: s,typedConfig: {\
    \"@type\": x/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy}}}}}},";

/// A path matches with any query, and would take the query along to the application.
const NOTHING_ELSE: &str = ",{match: {prefix: /,headers: [{name: \":path\",stringMatch: {contains: \"?\"}}]},directResponse: {status: 404}},\
    {match: {prefix: /,headers: [{name: \":method\",stringMatch: {exact: GET},invertMatch: true}]},directResponse: {status: 404}}";

fn push_route(routes: &mut String, probe: &AppProbe, app_path: &str, cluster: usize) {
    routes.push_str(",{match: {path: ");
    push_quoted(routes, &probe.path);
    let seconds = seconds(probe);
    push(
        routes,
        format_args!("}},route: {{cluster: p{cluster},timeout: {seconds}s,prefixRewrite: "),
    );
    push_quoted(routes, &request_target(app_path));
    routes.push_str("}}");
}

fn push_filter(filters: &mut String, probe: &AppProbe, cluster: usize) {
    filters.push_str(
        "{name: p,typedConfig: {\"@type\": x/envoy.extensions.filters.http.health_check.v3.HealthCheck,passThroughMode: false,\
         headers: [{name: \":method\",stringMatch: {exact: GET}},{name: \":path\",stringMatch: {exact: ",
    );
    push_quoted(filters, &probe.path);
    push(
        filters,
        format_args!("}}}}],clusterMinHealthyPercentages: {{p{cluster}: {{value: 100}}}}}}}},"),
    );
}

/// Whom a cluster asks, and how. Probes that agree in it share the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Target<'a> {
    Http {
        tls: bool,
        port: Port,
    },
    Tcp {
        port: Port,
        seconds: u32,
    },
    Grpc {
        port: Port,
        service: &'a str,
        seconds: u32,
    },
}

impl<'a> Target<'a> {
    fn of(probe: &'a AppProbe) -> Target<'a> {
        let seconds = seconds(probe);
        match &probe.check {
            Check::Http { tls, port, .. } => Target::Http {
                tls: *tls,
                port: *port,
            },
            Check::Tcp { port } => Target::Tcp {
                port: *port,
                seconds,
            },
            Check::Grpc { port, service } => Target::Grpc {
                port: *port,
                service: service.as_deref().unwrap_or_default(),
                seconds,
            },
        }
    }

    fn port(self) -> Port {
        match self {
            Target::Http { port, .. } | Target::Tcp { port, .. } | Target::Grpc { port, .. } => {
                port
            }
        }
    }
}

/// Envoy takes no time-out of nothing, and neither does Kubernetes.
fn seconds(probe: &AppProbe) -> u32 {
    probe.timeout_seconds.max(1)
}

struct Clusters<'a> {
    indices: HashMap<Target<'a>, usize>,
    http_options: OnceSaid<'a>,
    text: String,
}

impl<'a> Clusters<'a> {
    fn new(http_options: OnceSaid<'a>) -> Clusters<'a> {
        Clusters {
            indices: HashMap::new(),
            http_options,
            text: String::new(),
        }
    }

    fn index_of(&mut self, target: Target<'a>) -> usize {
        let next = self.indices.len();
        let index = *self.indices.entry(target).or_insert(next);
        if index == next {
            push_cluster(&mut self.text, index, target, &mut self.http_options);
        }
        index
    }
}

fn push_cluster(
    out: &mut String,
    index: usize,
    target: Target<'_>,
    http_options: &mut OnceSaid<'_>,
) {
    push(out, format_args!(",{{name: p{index},"));
    match target {
        Target::Http { tls, .. } => {
            out.push_str(http_options.say());
            out.push(',');
            // As the kubelet: no look at the certificate.
            if tls {
                out.push_str(
                    "transportSocket: {name: t,typedConfig: {\"@type\": x/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext,\
                     commonTlsContext: {tlsParams: {tlsMaximumProtocolVersion: TLSv1_3}}}},",
                );
            }
        }
        Target::Tcp { seconds, .. } => {
            push_health_check(out, seconds, format_args!("tcpHealthCheck: {{}}"));
        }
        Target::Grpc {
            service, seconds, ..
        } => {
            out.push_str(GRPC_OPTIONS);
            let mut name = String::new();
            push_quoted(&mut name, service);
            push_health_check(
                out,
                seconds,
                format_args!("grpcHealthCheck: {{serviceName: {name}}}"),
            );
        }
    }
    let port = target.port();
    push(
        out,
        format_args!(
            "loadAssignment: {{clusterName: p,endpoints: [{{lbEndpoints: [{{endpoint: {{address: {{socketAddress: \
         {{address: \"$(POD_IP)\",portValue: {port}}}}}}}}}]}}]}}}}",
        ),
    );
}

const GRPC_OPTIONS: &str = "typedExtensionProtocolOptions: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
    {\"@type\": x/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,explicitHttpConfig: {http2ProtocolOptions: {}}}},";

fn push_health_check(out: &mut String, seconds: u32, check: Arguments<'_>) {
    push(
        out,
        format_args!(
            "healthChecks: [{{timeout: {seconds}s,interval: 1s,noTrafficInterval: 1s,unhealthyThreshold: 1,healthyThreshold: 1,{check}}}],",
        ),
    );
}

fn push(out: &mut String, text: Arguments<'_>) {
    out.write_fmt(text).expect("a String takes every write");
}
