# Stands for cloudposse/alb-ingress/aws, without its authentication of users.

variable "default_target_group_enabled" { default = true }
variable "target_group_arn" { default = "" }
variable "port" { default = 80 }
variable "protocol" { default = "HTTP" }
variable "target_type" { default = "ip" }
variable "deregistration_delay" { default = 15 }
variable "slow_start" { default = null }
variable "health_check_path" { default = "/" }
variable "health_check_interval" { default = 15 }
variable "health_check_timeout" { default = 10 }
variable "health_check_healthy_threshold" { default = 2 }
variable "health_check_unhealthy_threshold" { default = 2 }
variable "health_check_matcher" { default = "200-399" }
variable "unauthenticated_priority" { default = null }
variable "unauthenticated_listener_arns" { default = [] }
variable "unauthenticated_paths" { default = [] }
variable "unauthenticated_hosts" { default = [] }

resource "aws_lb_target_group" "default" {
  count = var.default_target_group_enabled ? 1 : 0

  port                 = var.port
  protocol             = var.protocol
  target_type          = var.target_type
  deregistration_delay = var.deregistration_delay
  slow_start           = var.slow_start

  health_check {
    path                = var.health_check_path
    interval            = var.health_check_interval
    timeout             = var.health_check_timeout
    healthy_threshold   = var.health_check_healthy_threshold
    unhealthy_threshold = var.health_check_unhealthy_threshold
    matcher             = var.health_check_matcher
  }
}

locals {
  target_group_arn = try(aws_lb_target_group.default[0].arn, var.target_group_arn)
  is_routed        = length(concat(var.unauthenticated_paths, var.unauthenticated_hosts)) > 0
}

resource "aws_lb_listener_rule" "this" {
  count = local.is_routed ? length(var.unauthenticated_listener_arns) : 0

  listener_arn = var.unauthenticated_listener_arns[count.index]
  priority     = var.unauthenticated_priority == null ? null : var.unauthenticated_priority + count.index

  action {
    type             = "forward"
    target_group_arn = local.target_group_arn
  }

  condition {
    dynamic "path_pattern" {
      for_each = length(var.unauthenticated_paths) > 0 ? [var.unauthenticated_paths] : []
      content {
        values = path_pattern.value
      }
    }
    dynamic "host_header" {
      for_each = length(var.unauthenticated_hosts) > 0 ? [var.unauthenticated_hosts] : []
      content {
        values = host_header.value
      }
    }
  }
}

output "target_group_arn" { value = local.target_group_arn }
output "target_group_name" { value = try(aws_lb_target_group.default[0].name, null) }
