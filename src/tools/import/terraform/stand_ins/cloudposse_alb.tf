# Stands for cloudposse/alb/aws.

variable "internal" { default = null }
variable "idle_timeout" { default = null }
variable "security_group_enabled" { default = true }
variable "security_group_ids" { default = [] }
variable "http_enabled" { default = true }
variable "http_redirect" { default = false }
variable "http_port" { default = 80 }
variable "http_ingress_cidr_blocks" { default = ["0.0.0.0/0"] }
variable "https_enabled" { default = false }
variable "https_port" { default = 443 }
variable "https_ingress_cidr_blocks" { default = ["0.0.0.0/0"] }
variable "default_target_group_enabled" { default = true }
variable "target_group_port" { default = 80 }
variable "target_group_protocol" { default = "HTTP" }
variable "target_group_target_type" { default = "ip" }
variable "deregistration_delay" { default = 15 }
variable "slow_start" { default = null }
variable "stickiness" { default = null }
variable "health_check_path" { default = "/" }
variable "health_check_port" { default = null }
variable "health_check_protocol" { default = null }
variable "health_check_interval" { default = 15 }
variable "health_check_timeout" { default = 10 }
variable "health_check_healthy_threshold" { default = 2 }
variable "health_check_unhealthy_threshold" { default = 2 }
variable "health_check_matcher" { default = "200-399" }
variable "listener_http_fixed_response" { default = null }
variable "listener_https_fixed_response" { default = null }

resource "aws_security_group" "default" {
  count = var.security_group_enabled ? 1 : 0

  dynamic "ingress" {
    for_each = concat(
      var.http_enabled ? [{ port = var.http_port, networks = var.http_ingress_cidr_blocks }] : [],
      var.https_enabled ? [{ port = var.https_port, networks = var.https_ingress_cidr_blocks }] : [],
    )
    content {
      protocol    = "tcp"
      from_port   = ingress.value.port
      to_port     = ingress.value.port
      cidr_blocks = ingress.value.networks
    }
  }
}

resource "aws_lb" "default" {
  internal        = var.internal
  idle_timeout    = var.idle_timeout
  security_groups = concat(aws_security_group.default[*].id, var.security_group_ids)
}

resource "aws_lb_target_group" "default" {
  count = var.default_target_group_enabled ? 1 : 0

  port                 = var.target_group_port
  protocol             = var.target_group_protocol
  target_type          = var.target_group_target_type
  deregistration_delay = var.deregistration_delay
  slow_start           = var.slow_start

  health_check {
    path                = var.health_check_path
    port                = var.health_check_port
    protocol            = var.health_check_protocol
    interval            = var.health_check_interval
    timeout             = var.health_check_timeout
    healthy_threshold   = var.health_check_healthy_threshold
    unhealthy_threshold = var.health_check_unhealthy_threshold
    matcher             = var.health_check_matcher
  }

  dynamic "stickiness" {
    for_each = [for sticky in [var.stickiness] : sticky if sticky != null]
    content {
      type            = "lb_cookie"
      enabled         = try(stickiness.value.enabled, true)
      cookie_duration = try(stickiness.value.cookie_duration, null)
    }
  }
}

locals {
  listeners = merge(
    var.http_enabled ? { http = { port = var.http_port, protocol = "HTTP", redirect = var.http_redirect, fixed = var.listener_http_fixed_response } } : {},
    var.https_enabled ? { https = { port = var.https_port, protocol = "HTTPS", redirect = false, fixed = var.listener_https_fixed_response } } : {},
  )
}

resource "aws_lb_listener" "this" {
  for_each = local.listeners

  load_balancer_arn = aws_lb.default.arn
  port              = each.value.port
  protocol          = each.value.protocol

  default_action {
    type             = each.value.redirect ? "redirect" : each.value.fixed != null ? "fixed-response" : "forward"
    target_group_arn = each.value.redirect || each.value.fixed != null ? null : aws_lb_target_group.default[0].arn

    dynamic "redirect" {
      for_each = each.value.redirect ? [1] : []
      content {
        protocol    = "HTTPS"
        port        = "443"
        status_code = "HTTP_301"
      }
    }

    dynamic "fixed_response" {
      for_each = [for fixed in [each.value.fixed] : fixed if fixed != null]
      content {
        content_type = fixed_response.value.content_type
        message_body = try(fixed_response.value.message_body, null)
        status_code  = fixed_response.value.status_code
      }
    }
  }
}

output "alb_arn" { value = aws_lb.default.arn }
output "alb_dns_name" { value = aws_lb.default.dns_name }
output "alb_zone_id" { value = aws_lb.default.zone_id }
output "security_group_id" { value = aws_security_group.default[0].id }
output "default_target_group_arn" { value = aws_lb_target_group.default[0].arn }
output "http_listener_arn" { value = aws_lb_listener.this["http"].arn }
output "https_listener_arn" { value = aws_lb_listener.this["https"].arn }
output "listener_arns" { value = values(aws_lb_listener.this)[*].arn }
