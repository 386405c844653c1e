# Stands for terraform-aws-modules/alb/aws, of its versions 5 to 10: maps of listeners and
# target groups, or lists of them that refer to each other by number.

variable "create" { default = true }
variable "load_balancer_type" { default = "application" }
variable "internal" { default = null }
variable "idle_timeout" { default = null }
variable "security_groups" { default = [] }
variable "create_security_group" { default = true }
variable "security_group_ingress_rules" { default = {} }
variable "security_group_rules" { default = {} }
variable "listeners" { default = {} }
variable "target_groups" { default = {} }
variable "additional_target_group_attachments" { default = {} }
variable "http_tcp_listeners" { default = [] }
variable "https_listeners" { default = [] }
variable "http_tcp_listener_rules" { default = [] }
variable "https_listener_rules" { default = [] }

locals {
  written = merge(
    { for k, v in coalesce(var.listeners, {}) : k => v },
    { for n, v in var.http_tcp_listeners : "http-${n}" => v },
    { for n, v in var.https_listeners : "https-${n}" => merge({ protocol = "HTTPS" }, v) },
  )

  listeners = {
    for k, v in local.written : k => merge(v, {
      action_type = (
        try(v.redirect, null) != null ? "redirect" :
        try(v.fixed_response, null) != null ? "fixed-response" :
        try(v.authenticate_cognito, null) != null ? "authenticate-cognito" :
        try(v.authenticate_oidc, null) != null ? "authenticate-oidc" :
        try(v.action_type, "forward")
      )
    })
  }

  rules = merge(
    {
      for rule in flatten([
        for k, v in coalesce(var.listeners, {}) : [
          for name, rule in coalesce(try(v.rules, null), {}) : { key = "${k}/${name}", listener = k, rule = rule }
        ]
      ]) : rule.key => rule
    },
    {
      for n, v in var.http_tcp_listener_rules :
      "http-${n}" => { listener = "http-${try(v.http_tcp_listener_index, 0)}", rule = v }
    },
    {
      for n, v in var.https_listener_rules :
      "https-${n}" => { listener = "https-${try(v.https_listener_index, 0)}", rule = v }
    },
  )

  attachments = merge(
    {
      for k, v in var.target_groups : k => { group = k, target_id = v.target_id, port = try(v.attachment_port, v.port, v.backend_port, null) }
      if try(v.target_id, null) != null && try(v.create_attachment, true) != false
    },
    {
      for target in flatten([
        for k, v in var.target_groups : [
          for name, target in coalesce(try(v.targets, null), {}) : merge({ key = "${k}_${name}", group = k, port = null }, target)
        ]
      ]) : target.key => target
    },
    {
      for k, v in coalesce(var.additional_target_group_attachments, {}) :
      k => { group = v.target_group_key, target_id = v.target_id, port = try(v.port, null) }
    },
  )
}

resource "aws_security_group" "this" {
  count = var.create_security_group ? 1 : 0

  dynamic "ingress" {
    for_each = { for k, v in coalesce(var.security_group_rules, {}) : k => v if try(v.type, "ingress") == "ingress" }
    content {
      protocol         = try(ingress.value.protocol, "tcp")
      from_port        = try(ingress.value.from_port, null)
      to_port          = try(ingress.value.to_port, null)
      cidr_blocks      = try(ingress.value.cidr_blocks, null)
      ipv6_cidr_blocks = try(ingress.value.ipv6_cidr_blocks, null)
    }
  }
}

resource "aws_vpc_security_group_ingress_rule" "this" {
  for_each = var.create_security_group ? coalesce(var.security_group_ingress_rules, {}) : {}

  security_group_id = aws_security_group.this[0].id
  ip_protocol       = try(each.value.ip_protocol, "tcp")
  from_port         = try(each.value.from_port, null)
  to_port           = try(coalesce(try(each.value.to_port, null), each.value.from_port), null)
  cidr_ipv4         = try(each.value.cidr_ipv4, null)
  cidr_ipv6         = try(each.value.cidr_ipv6, null)
}

resource "aws_lb" "this" {
  count = var.create ? 1 : 0

  load_balancer_type = var.load_balancer_type
  internal           = var.internal
  idle_timeout       = var.idle_timeout
  security_groups    = concat(aws_security_group.this[*].id, coalesce(var.security_groups, []))
}

resource "aws_lb_target_group" "this" {
  for_each = { for k, v in var.target_groups : k => v }

  port                          = try(coalesce(try(each.value.port, null), each.value.backend_port), null)
  protocol                      = try(coalesce(try(each.value.protocol, null), each.value.backend_protocol), "HTTP")
  protocol_version              = try(each.value.protocol_version, null)
  target_type                   = try(each.value.target_type, null)
  deregistration_delay          = try(each.value.deregistration_delay, null)
  slow_start                    = try(each.value.slow_start, null)
  load_balancing_algorithm_type = try(each.value.load_balancing_algorithm_type, null)

  dynamic "health_check" {
    for_each = [for check in [try(each.value.health_check, null)] : check if check != null]
    content {
      enabled             = try(health_check.value.enabled, null)
      protocol            = try(health_check.value.protocol, null)
      port                = try(health_check.value.port, null)
      path                = try(health_check.value.path, null)
      matcher             = try(health_check.value.matcher, null)
      interval            = try(health_check.value.interval, null)
      timeout             = try(health_check.value.timeout, null)
      healthy_threshold   = try(health_check.value.healthy_threshold, null)
      unhealthy_threshold = try(health_check.value.unhealthy_threshold, null)
    }
  }

  dynamic "stickiness" {
    for_each = [for sticky in [try(each.value.stickiness, null)] : sticky if sticky != null]
    content {
      enabled         = try(stickiness.value.enabled, true)
      type            = try(stickiness.value.type, null)
      cookie_name     = try(stickiness.value.cookie_name, null)
      cookie_duration = try(stickiness.value.cookie_duration, null)
    }
  }
}

resource "aws_lb_target_group_attachment" "this" {
  for_each = local.attachments

  target_group_arn = aws_lb_target_group.this[each.value.group].arn
  target_id        = each.value.target_id
  port             = each.value.port
}

resource "aws_lb_listener" "this" {
  for_each = local.listeners

  load_balancer_arn = aws_lb.this[0].arn
  port              = try(each.value.port, null)
  protocol          = try(each.value.protocol, "HTTP")

  default_action {
    type = each.value.action_type
    target_group_arn = each.value.action_type != "forward" || can(each.value.weighted_forward.target_groups) ? null : try(
      coalesce(each.value.forward.arn),
      coalesce(each.value.forward.target_group_arn),
      aws_lb_target_group.this[each.value.forward.target_group_key].arn,
      aws_lb_target_group.this[each.value.target_group_index].arn,
      values(aws_lb_target_group.this)[0].arn,
    )

    dynamic "forward" {
      for_each = [for forward in [try(each.value.weighted_forward, null)] : forward if forward != null]
      content {
        dynamic "target_group" {
          for_each = forward.value.target_groups
          content {
            arn    = try(coalesce(target_group.value.arn), aws_lb_target_group.this[target_group.value.target_group_key].arn)
            weight = try(target_group.value.weight, null)
          }
        }
        dynamic "stickiness" {
          for_each = [for sticky in [try(forward.value.stickiness, null)] : sticky if sticky != null]
          content {
            enabled  = try(stickiness.value.enabled, null)
            duration = try(stickiness.value.duration, null)
          }
        }
      }
    }

    dynamic "redirect" {
      for_each = [for redirect in [try(each.value.redirect, null)] : redirect if redirect != null]
      content {
        protocol    = try(redirect.value.protocol, null)
        host        = try(redirect.value.host, null)
        port        = try(redirect.value.port, null)
        path        = try(redirect.value.path, null)
        query       = try(redirect.value.query, null)
        status_code = redirect.value.status_code
      }
    }

    dynamic "fixed_response" {
      for_each = [for fixed in [try(each.value.fixed_response, null)] : fixed if fixed != null]
      content {
        content_type = fixed_response.value.content_type
        message_body = try(fixed_response.value.message_body, null)
        status_code  = try(fixed_response.value.status_code, 200)
      }
    }
  }
}

resource "aws_lb_listener_rule" "this" {
  for_each = local.rules

  listener_arn = try(coalesce(each.value.rule.listener_arn), aws_lb_listener.this[each.value.listener].arn)
  priority     = try(each.value.rule.priority, null)

  dynamic "action" {
    for_each = each.value.rule.actions
    content {
      type = try(
        coalesce(action.value.type) == "weighted-forward" ? "forward" : action.value.type,
        try(action.value.redirect, null) != null ? "redirect" :
        try(action.value.fixed_response, null) != null ? "fixed-response" :
        try(action.value.authenticate_oidc, null) != null ? "authenticate-oidc" :
        try(action.value.authenticate_cognito, null) != null ? "authenticate-cognito" : "forward",
      )
      target_group_arn = try(
        coalesce(action.value.target_group_arn),
        coalesce(action.value.forward.target_group_arn),
        aws_lb_target_group.this[coalesce(action.value.target_group_key)].arn,
        aws_lb_target_group.this[coalesce(action.value.forward.target_group_key)].arn,
        aws_lb_target_group.this[coalesce(action.value.target_group_index)].arn,
        null,
      )

      dynamic "forward" {
        for_each = [
          for forward in [try(action.value.weighted_forward, null), try(action.value.type == "weighted-forward" ? action.value : null, null)] :
          forward if forward != null
        ]
        content {
          dynamic "target_group" {
            for_each = forward.value.target_groups
            content {
              arn    = try(coalesce(target_group.value.arn), aws_lb_target_group.this[target_group.value.target_group_key].arn)
              weight = try(target_group.value.weight, null)
            }
          }
          dynamic "stickiness" {
            for_each = [for sticky in [try(forward.value.stickiness, null)] : sticky if sticky != null]
            content {
              enabled  = try(stickiness.value.enabled, null)
              duration = try(stickiness.value.duration, null)
            }
          }
        }
      }

      dynamic "redirect" {
        for_each = [
          for redirect in [try(action.value.redirect, null), try(action.value.type == "redirect" ? action.value : null, null)] :
          redirect if redirect != null
        ]
        content {
          protocol    = try(redirect.value.protocol, null)
          host        = try(redirect.value.host, null)
          port        = try(redirect.value.port, null)
          path        = try(redirect.value.path, null)
          query       = try(redirect.value.query, null)
          status_code = redirect.value.status_code
        }
      }

      dynamic "fixed_response" {
        for_each = [
          for fixed in [try(action.value.fixed_response, null), try(action.value.type == "fixed-response" ? action.value : null, null)] :
          fixed if fixed != null
        ]
        content {
          content_type = fixed_response.value.content_type
          message_body = try(fixed_response.value.message_body, null)
          status_code  = try(fixed_response.value.status_code, 200)
        }
      }
    }
  }

  dynamic "condition" {
    for_each = each.value.rule.conditions
    content {
      dynamic "path_pattern" {
        for_each = concat(flatten([coalesce(try(condition.value.path_pattern, null), [])]), [for v in [try(condition.value.path_patterns, null)] : { values = v } if v != null])
        content {
          values = path_pattern.value.values
        }
      }
      dynamic "host_header" {
        for_each = concat(flatten([coalesce(try(condition.value.host_header, null), [])]), [for v in [try(condition.value.host_headers, null)] : { values = v } if v != null])
        content {
          values = host_header.value.values
        }
      }
      dynamic "http_request_method" {
        for_each = concat(flatten([coalesce(try(condition.value.http_request_method, null), [])]), [for v in [try(condition.value.http_request_methods, null)] : { values = v } if v != null])
        content {
          values = http_request_method.value.values
        }
      }
      dynamic "source_ip" {
        for_each = concat(flatten([coalesce(try(condition.value.source_ip, null), [])]), [for v in [try(condition.value.source_ips, null)] : { values = v } if v != null])
        content {
          values = source_ip.value.values
        }
      }
      dynamic "http_header" {
        for_each = flatten([coalesce(try(condition.value.http_header, null), try(condition.value.http_headers, null), [])])
        content {
          http_header_name = http_header.value.http_header_name
          values           = http_header.value.values
        }
      }
      dynamic "query_string" {
        for_each = flatten([coalesce(try(condition.value.query_string, null), try(condition.value.query_strings, null), [])])
        content {
          key   = try(query_string.value.key, null)
          value = query_string.value.value
        }
      }
    }
  }
}

output "arn" { value = aws_lb.this[0].arn }
output "id" { value = aws_lb.this[0].id }
output "lb_arn" { value = aws_lb.this[0].arn }
output "lb_id" { value = aws_lb.this[0].id }
output "dns_name" { value = aws_lb.this[0].dns_name }
output "lb_dns_name" { value = aws_lb.this[0].dns_name }
output "zone_id" { value = aws_lb.this[0].zone_id }
output "lb_zone_id" { value = aws_lb.this[0].zone_id }
output "arn_suffix" { value = aws_lb.this[0].arn_suffix }
output "lb_arn_suffix" { value = aws_lb.this[0].arn_suffix }
output "security_group_id" { value = aws_security_group.this[0].id }
output "security_group_arn" { value = aws_security_group.this[0].arn }
output "target_groups" { value = aws_lb_target_group.this }
output "target_group_arns" { value = values(aws_lb_target_group.this)[*].arn }
output "target_group_names" { value = values(aws_lb_target_group.this)[*].name }
output "target_group_arn_suffixes" { value = values(aws_lb_target_group.this)[*].arn_suffix }
output "listeners" { value = aws_lb_listener.this }
output "listener_rules" { value = aws_lb_listener_rule.this }
output "http_tcp_listener_arns" { value = [for n, v in var.http_tcp_listeners : aws_lb_listener.this["http-${n}"].arn] }
output "https_listener_arns" { value = [for n, v in var.https_listeners : aws_lb_listener.this["https-${n}"].arn] }
output "http_tcp_listener_ids" { value = [for n, v in var.http_tcp_listeners : aws_lb_listener.this["http-${n}"].arn] }
output "https_listener_ids" { value = [for n, v in var.https_listeners : aws_lb_listener.this["https-${n}"].arn] }
