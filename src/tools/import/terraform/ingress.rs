//! Reads the ingress rules of security groups: the clients of a port.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use super::files::Files;
use super::plan::Access;
use super::section::Section;

/// The ingress rules by the address of their group.
#[derive(Debug, Default)]
pub(super) struct Ingress(HashMap<String, Vec<Allowed>>);

#[derive(Debug)]
struct Allowed {
    ports: (u32, u32),
    networks: Vec<IpNet>,
}

impl Ingress {
    /// Reads the groups with these addresses; others do not belong to a load balancer.
    pub(super) fn read(files: &Files<'_>, wanted: &BTreeSet<&str>) -> Self {
        const OTHER: &str = "no load balancer has this security group";
        const EGRESS: &str = "Weir does not restrict what its machine may reach";
        let mut ingress = Self::default();
        for group in files.all("aws_security_group") {
            if !wanted.contains(&*group.address) {
                group.section.not_needed(OTHER);
                continue;
            }
            ingress.0.entry(group.address.clone()).or_default();
            for block in group.section.blocks("ingress") {
                ingress.inline(&group.address, &block);
                block.finish(&["description"]);
            }
            group
                .section
                .finish(&["description", "egress", "revoke_rules_on_delete"]);
        }
        for rule in files.all("aws_security_group_rule") {
            let group = owner(&rule.section);
            if rule.section.text("type").as_deref() == Some("egress") {
                rule.section.not_needed(EGRESS);
            } else if let Some(group) = group.filter(|group| wanted.contains(&**group)) {
                ingress.inline(&group, &rule.section);
                rule.section.finish(&["description"]);
            } else {
                rule.section.not_needed(OTHER);
            }
        }
        for rule in files.all("aws_vpc_security_group_ingress_rule") {
            let group = owner(&rule.section);
            if let Some(group) = group.filter(|group| wanted.contains(&**group)) {
                ingress.single(&group, &rule.section);
                rule.section.finish(&["description"]);
            } else {
                rule.section.not_needed(OTHER);
            }
        }
        for rule in files.all("aws_vpc_security_group_egress_rule") {
            rule.section.not_needed(EGRESS);
        }
        ingress
    }

    /// Adds `ingress { … }` or `aws_security_group_rule`.
    fn inline(&mut self, group: &str, section: &Section<'_>) {
        let protocol = section.text("protocol");
        let mut networks = networks(section, "cidr_blocks");
        networks.extend(self::networks(section, "ipv6_cidr_blocks"));
        let ports = ports(section, protocol.as_deref());
        self.allow(group, ports, networks);
        // Other groups are clients within AWS, such as the load balancer of tasks.
        for key in [
            "security_groups",
            "source_security_group_id",
            "self",
            "prefix_list_ids",
        ] {
            let is_said = section.value(key).is_some_and(|value| {
                value.as_bool() != Some(false) && value.as_array().is_none_or(|all| !all.is_empty())
            });
            if is_said {
                section.useless(key, "clients within AWS are not known here");
            }
        }
    }

    /// Adds `aws_vpc_security_group_ingress_rule`.
    fn single(&mut self, group: &str, section: &Section<'_>) {
        let protocol = section.text("ip_protocol");
        let mut networks = networks(section, "cidr_ipv4");
        networks.extend(self::networks(section, "cidr_ipv6"));
        let ports = ports(section, protocol.as_deref());
        for key in ["referenced_security_group_id", "prefix_list_id"] {
            if section.value(key).is_some() {
                section.useless(key, "clients within AWS are not known here");
            }
        }
        self.allow(group, ports, networks);
    }

    fn allow(&mut self, group: &str, ports: Option<(u32, u32)>, networks: Vec<IpNet>) {
        if let Some(ports) = ports {
            let allowed = Allowed { ports, networks };
            self.0.entry(group.to_owned()).or_default().push(allowed);
        }
    }

    /// The clients of a port behind these groups, and whether some of them use IPv6.
    pub(super) fn access(&self, groups: &[String], port: u16) -> (Access, bool) {
        let rules = groups.iter().filter_map(|name| self.0.get(name)).flatten();
        let open = rules.filter(|rule| (rule.ports.0..=rule.ports.1).contains(&u32::from(port)));
        let networks: Vec<IpNet> = open.flat_map(|rule| &rule.networks).copied().collect();
        let v6 = |network: &IpNet| network.addr().is_ipv6();
        let all_of = |wanted: bool| {
            let mut all = networks.iter().filter(|network| network.prefix_len() == 0);
            all.any(|network| v6(network) == wanted)
        };
        let access = if all_of(false) {
            Access::All
        } else if all_of(true) && networks.iter().all(v6) {
            Access::AllIpv6
        } else if networks.is_empty() {
            Access::Unknown
        } else {
            Access::Only(IpNet::aggregate(&networks))
        };
        (access, networks.iter().any(v6))
    }
}

/// The address of the security group that a rule belongs to.
fn owner(rule: &Section<'_>) -> Option<String> {
    let value = rule.value("security_group_id")?;
    rule.address_of(&value, "aws_security_group")
}

/// The range of TCP ports; `None` for protocols without HTTP.
fn ports(section: &Section<'_>, protocol: Option<&str>) -> Option<(u32, u32)> {
    let bounds = (section.value("from_port"), section.value("to_port"));
    match protocol {
        Some("-1" | "all") => Some((0, u32::from(u16::MAX))),
        Some("tcp" | "6") => match bounds {
            (Some(_), Some(_)) => Some((section.count("from_port")?, section.count("to_port")?)),
            _ => Some((0, u32::from(u16::MAX))),
        },
        _ => None,
    }
}

fn networks(section: &Section<'_>, key: &str) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in section
        .texts(key)
        .into_iter()
        .filter(|text| !text.is_empty())
    {
        match text.parse::<IpNet>() {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => section.not_mapped(key, format!("`{text}` is not a network")),
        }
    }
    networks
}
