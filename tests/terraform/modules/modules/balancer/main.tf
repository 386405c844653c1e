variable "name" {}
variable "networks" { type = list(string) }
variable "services" {}
variable "vpc_id" {}

variable "open_ports" {
  default = [80]
}

resource "aws_security_group" "this" {
  name   = var.name
  vpc_id = var.vpc_id

  dynamic "ingress" {
    for_each = toset(var.open_ports)
    iterator = port

    content {
      from_port   = port.value
      to_port     = port.value
      protocol    = "tcp"
      cidr_blocks = var.networks
    }
  }
}

resource "aws_lb" "this" {
  name            = substr(var.name, 0, 32)
  security_groups = [aws_security_group.this.id]
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  port              = element(var.open_ports, 0)
  protocol          = "HTTP"

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "no service of ${var.name} has this path"
      status_code  = 404
    }
  }
}

resource "aws_lb_target_group" "this" {
  for_each = var.services

  name     = "${var.name}-${each.key}"
  port     = each.value.port
  protocol = "HTTP"
  vpc_id   = var.vpc_id

  dynamic "health_check" {
    for_each = [each.value.health]
    content {
      path     = health_check.value.path
      interval = health_check.value.interval
      matcher  = try(health_check.value.matcher, "200")
    }
  }
}

resource "aws_lb_listener_rule" "this" {
  for_each = var.services

  listener_arn = aws_lb_listener.http.arn
  priority     = each.value.priority

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }

  condition {
    path_pattern {
      values = each.value.paths
    }
  }
}

output "target_groups" {
  value = aws_lb_target_group.this
}

output "dns_name" {
  value = aws_lb.this.dns_name
}
