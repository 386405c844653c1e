# Stands for terraform-aws-modules/security-group/aws.

variable "create" { default = true }
variable "ingress_cidr_blocks" { default = [] }
variable "ingress_ipv6_cidr_blocks" { default = [] }
variable "ingress_rules" { default = [] }
variable "ingress_with_cidr_blocks" { default = [] }

locals {
  ports = {
    http-80-tcp    = { protocol = "tcp", from_port = 80, to_port = 80 }
    http-8080-tcp  = { protocol = "tcp", from_port = 8080, to_port = 8080 }
    https-443-tcp  = { protocol = "tcp", from_port = 443, to_port = 443 }
    https-8443-tcp = { protocol = "tcp", from_port = 8443, to_port = 8443 }
    all-tcp        = { protocol = "tcp", from_port = 0, to_port = 65535 }
    all-all        = { protocol = "-1", from_port = 0, to_port = 0 }
  }

  rules = concat(
    [
      for rule in var.ingress_rules : merge(local.ports[rule], { ipv4 = var.ingress_cidr_blocks, ipv6 = var.ingress_ipv6_cidr_blocks })
      if contains(keys(local.ports), rule)
    ],
    [
      for rule in var.ingress_with_cidr_blocks : merge(
        { protocol = "tcp", from_port = null, to_port = null },
        try(local.ports[rule.rule], {}),
        { for k, v in rule : k => v if k != "cidr_blocks" },
        { ipv4 = try(split(",", rule.cidr_blocks), var.ingress_cidr_blocks), ipv6 = [] },
      )
    ],
  )
}

resource "aws_security_group" "this" {
  count = var.create ? 1 : 0

  dynamic "ingress" {
    for_each = local.rules
    content {
      protocol         = ingress.value.protocol
      from_port        = ingress.value.from_port
      to_port          = ingress.value.to_port
      cidr_blocks      = ingress.value.ipv4
      ipv6_cidr_blocks = ingress.value.ipv6
    }
  }
}

output "security_group_id" { value = aws_security_group.this[0].id }
output "this_security_group_id" { value = aws_security_group.this[0].id }
