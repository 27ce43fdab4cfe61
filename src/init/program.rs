//! One address family's redirection, from the tables found to the tables read back.
//!
//! Decides which of the kernel's two table formats gets the rules. They are never spread over
//! both: the order in which the kernel would then ask them is nobody's plan. What is read back
//! is what iptables shows of a format; chains that somebody hooked in by `nft` alone are not seen.

use std::fmt;

use sparkmesh_injection::redirect::{Deviation, Family, RedirectPlan, Ruleset};

use super::netfilter::{Format, Found, Tool, ToolError, program_name};
use super::pod::{Ipv6, Pod};

/// How it stands with an address family at the end.
#[derive(Debug)]
pub(super) enum Outcome {
    Written {
        format: Format,
        rules: usize,
        /// Formats that were tried before, and why they would not do.
        refused: Vec<String>,
    },
    AlreadyThere {
        format: Format,
        rules: usize,
    },
    /// The kernel has no IPv6.
    NoIpv6,
    /// Rules cannot be written, and no IPv6 connection can leave the pod either.
    Ipv6Unused(Failure),
}

/// Why an address family is not redirected.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(
        "no program on PATH can write its rules: the image must hold {program}-nft-restore, \
         {program}-legacy-restore or {program}-restore, with its {program}-save (package iptables)",
        program = program_name(*.0)
    )]
    NoTool(Family),
    #[error(
        "rules of sparkmesh stand in both nf_tables and legacy iptables, so one of them would \
         hold old ones: let the pod be created anew"
    )]
    InBothFormats,
    #[error(
        "the kernel took the rules in no format ({}): the node needs NAT with the matches owner \
         and multiport and the target REDIRECT, in nf_tables (nft_compat) or in legacy iptables{}",
        reasons.join("; "),
        match family {
            Family::V4 => "",
            Family::V6 => ", or the pod no IPv6 (sysctl net.ipv6.conf.all.disable_ipv6=1)",
        }
    )]
    Refused {
        family: Family,
        reasons: Vec<String>,
    },
    #[error(
        "{format}: what was written is not what is read back, so something else writes rules in \
         this pod: {}",
        join(deviations)
    )]
    NotAsWritten {
        format: Format,
        deviations: Vec<Deviation>,
    },
    #[error("{format}: the tables that exist cannot be read: {reason}")]
    Unreadable { format: Format, reason: String },
}

/// Puts the plan's rules in place.
pub(super) fn family(plan: &RedirectPlan, family: Family, pod: &Pod) -> Result<Outcome, Failure> {
    let reach = match family {
        Family::V4 => None,
        Family::V6 => Some(pod.ipv6),
    };
    if reach == Some(Ipv6::Absent) {
        return Ok(Outcome::NoIpv6);
    }
    match write(&plan.rules(family), family, pod) {
        Err(failure) if reach == Some(Ipv6::Loopback) => Ok(Outcome::Ipv6Unused(failure)),
        outcome => outcome,
    }
}

fn write(rules: &Ruleset, family: Family, pod: &Pod) -> Result<Outcome, Failure> {
    let tools = Tool::find(family);
    if tools.is_empty() {
        return Err(Failure::NoTool(family));
    }
    let mut refused = Vec::new();
    for (tool, found) in candidates(tools, pod, &mut refused)? {
        if rules.deviations(&found.nat).is_empty() {
            return Ok(Outcome::AlreadyThere {
                format: tool.format,
                rules: rules.count(),
            });
        }
        match tool.restore(&rules.restore_input(&found.nat)) {
            Ok(()) => {
                verify(rules, &tool, pod)?;
                return Ok(Outcome::Written {
                    format: tool.format,
                    rules: rules.count(),
                    refused,
                });
            }
            Err(error) => refused.push(reason(&tool, &error, pod)),
        }
    }
    Err(Failure::Refused {
        family,
        reasons: refused,
    })
}

/// The tools to try, in this order: only the one whose tables hold our rules; else only the
/// legacy one, if its tables hold anybody's; else all.
fn candidates(
    tools: Vec<Tool>,
    pod: &Pod,
    refused: &mut Vec<String>,
) -> Result<Vec<(Tool, Found)>, Failure> {
    let mut usable = Vec::new();
    for tool in tools {
        match (tool.found(), tool.format) {
            (Ok(found), _) => usable.push((tool, found)),
            // A kernel without nf_tables; the other format remains.
            (Err(error), Format::NfTables) => refused.push(reason(&tool, &error, pod)),
            (Err(error), Format::Legacy) => {
                return Err(Failure::Unreadable {
                    format: tool.format,
                    reason: reason(&tool, &error, pod),
                });
            }
        }
    }
    let ours = |(_, found): &(Tool, Found)| Ruleset::traces_in(&found.nat);
    let legacy = |(tool, found): &(Tool, Found)| tool.format == Format::Legacy && found.rules;
    match usable.iter().filter(|it| ours(it)).count() {
        0 if usable.iter().any(legacy) => usable.retain(legacy),
        0 => {}
        1 => usable.retain(ours),
        _ => return Err(Failure::InBothFormats),
    }
    Ok(usable)
}

fn verify(rules: &Ruleset, tool: &Tool, pod: &Pod) -> Result<(), Failure> {
    let nat = tool.nat().map_err(|error| Failure::Unreadable {
        format: tool.format,
        reason: reason(tool, &error, pod),
    })?;
    let deviations = rules.deviations(&nat);
    if deviations.is_empty() {
        Ok(())
    } else {
        Err(Failure::NotAsWritten {
            format: tool.format,
            deviations,
        })
    }
}

fn reason(tool: &Tool, error: &ToolError, pod: &Pod) -> String {
    let format = tool.format;
    if format == Format::Legacy && !pod.net_raw {
        format!("{format}: {error} (it needs the capability NET_RAW, which is missing)")
    } else {
        format!("{format}: {error}")
    }
}

fn join(deviations: &[Deviation]) -> String {
    let deviations: Vec<String> = deviations.iter().map(Deviation::to_string).collect();
    deviations.join("; ")
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Written {
                format,
                rules,
                refused,
            } => {
                write!(
                    f,
                    "redirected: {rules} rules written to {format} and read back"
                )?;
                if refused.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; before that, {}", refused.join("; "))
                }
            }
            Outcome::AlreadyThere { format, rules } => {
                write!(f, "redirected: all {rules} rules were already in {format}")
            }
            Outcome::NoIpv6 => f.write_str("nothing to redirect: the kernel has none"),
            Outcome::Ipv6Unused(failure) => write!(
                f,
                "nothing to redirect: no device but loopback has an address; rules could not be \
                 written: {failure}"
            ),
        }
    }
}
