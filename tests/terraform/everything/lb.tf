resource "aws_alb" "main" {
  security_groups = [aws_security_group.offices.id, aws_security_group.legacy.id]
  subnets         = module.network.public_subnets
  idle_timeout    = 120
  internal        = true
}

resource "aws_security_group" "offices" {
  description = "some networks only"
}

resource "aws_vpc_security_group_ingress_rule" "berlin" {
  security_group_id = aws_security_group.offices.id
  cidr_ipv4         = "198.51.100.0/24"
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = 8090
}

resource "aws_security_group_rule" "lisbon" {
  type              = "ingress"
  security_group_id = aws_security_group.offices.id
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["203.0.113.0/24", var.partners]
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.offices.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_security_group" "legacy" {
  ingress {
    from_port        = 9000
    to_port          = 9000
    protocol         = "tcp"
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_alb_listener" "web" {
  load_balancer_arn = aws_alb.main.arn
  port              = 8080

  default_action {
    type = "forward"

    forward {
      target_group {
        arn    = aws_alb_target_group.blue.arn
        weight = 9
      }

      target_group {
        arn    = aws_lb_target_group.green[0].arn
        weight = 1
      }

      stickiness {
        enabled  = true
        duration = 3600
      }
    }
  }
}

resource "aws_lb_listener" "open" {
  load_balancer_arn = aws_alb.main.arn
  port              = 9000
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      protocol    = "HTTPS"
      port        = "443"
      host        = "#{host}"
      path        = "/new/#{path}"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "secure" {
  load_balancer_arn = aws_alb.main.arn
  port              = 443
  protocol          = "HTTPS"
  certificate_arn   = var.certificate
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-3-2021-06"
  alpn_policy       = "HTTP1Only"

  mutual_authentication {
    mode            = "verify"
    trust_store_arn = var.clients
  }

  default_action {
    type             = "forward"
    target_group_arn = aws_alb_target_group.blue.arn
  }
}

resource "aws_lb_listener_certificate" "shop" {
  listener_arn    = aws_lb_listener.secure.arn
  certificate_arn = var.shop
}

resource "aws_lb_listener_rule" "api" {
  listener_arn = aws_alb_listener.web.arn
  priority     = 10

  action {
    type             = "forward"
    target_group_arn = aws_alb_target_group.blue.arn
  }

  condition {
    host_header {
      values = ["todo.example.com", "*.todo.example.com"]
    }
  }

  condition {
    path_pattern {
      values = ["/api/*"]
    }
  }

  condition {
    http_header {
      http_header_name = "X-Client"
      values           = ["web/*"]
    }
  }

  condition {
    http_request_method {
      values = ["GET", "HEAD"]
    }
  }

  condition {
    query_string {
      key   = "version"
      value = "2"
    }

    query_string {
      value = "*debug*"
    }
  }

  condition {
    source_ip {
      values = ["198.51.100.128/25", "192.0.2.0/24"]
    }
  }
}

resource "aws_lb_listener_rule" "both" {
  listener_arn = aws_alb_listener.web.arn
  priority     = 20

  action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "say \"$${please}\"\n"
      status_code  = "404"
    }
  }

  condition {
    query_string {
      key   = "a"
      value = "1"
    }
  }

  condition {
    query_string {
      key   = "b"
      value = "2"
    }
  }
}

resource "aws_lb_listener_rule" "login" {
  listener_arn = aws_alb_listener.web.arn
  priority     = 30

  action {
    type = "authenticate-cognito"
  }

  action {
    type             = "forward"
    target_group_arn = aws_alb_target_group.blue.arn
  }

  condition {
    path_pattern {
      values = ["/admin/*"]
    }
  }
}

resource "aws_lb_listener_rule" "partly" {
  listener_arn = aws_alb_listener.web.arn
  priority     = 40

  action {
    type             = "forward"
    target_group_arn = aws_alb_target_group.blue.arn
  }

  condition {
    path_pattern {
      regex_values = ["^/v[0-9]+/"]
    }
  }
}

resource "aws_lb_listener_rule" "elsewhere" {
  listener_arn = aws_lb_listener.secure.arn
  priority     = 1

  action {
    type             = "forward"
    target_group_arn = aws_alb_target_group.blue.arn
  }

  condition {
    path_pattern {
      values = ["/*"]
    }
  }
}

resource "aws_alb_target_group" "blue" {
  port                          = 8000
  protocol                      = "HTTP"
  deregistration_delay          = "30"
  slow_start                    = 60
  load_balancing_algorithm_type = "least_outstanding_requests"

  stickiness {
    type            = "app_cookie"
    cookie_name     = "JSESSIONID"
    cookie_duration = 600
  }

  health_check {
    path     = "/ready"
    port     = 8001
    interval = 5
    timeout  = 5
    matcher  = "200-299"
  }

  target_group_health {
    unhealthy_state_routing {
      minimum_healthy_targets_percentage = "50"
    }
  }
}

resource "aws_lb_target_group" "green" {
  count    = var.green ? 1 : 0
  port     = 8000
  protocol = "HTTP"
}

resource "aws_lb_target_group" "many" {
  for_each = toset(["a", "b"])
  port     = 8000
  protocol = "HTTP"
}

resource "aws_lb_target_group" "none" {
  count = 0
  port  = 8000
}

resource "aws_lb_target_group" "udp" {
  port     = 53
  protocol = "UDP"
}

resource "aws_lb_target_group_attachment" "green" {
  target_group_arn = aws_lb_target_group.green[0].arn
  target_id        = "10.0.0.7"
  port             = 8002
}

resource "aws_lb_target_group_attachment" "instance" {
  target_group_arn = aws_lb_target_group.green[0].arn
  target_id        = aws_instance.old.id
}

module "network" {
  source = "./network"
}

resource "aws_lb_target_group" "calls" {
  port             = 50051
  protocol         = "HTTP"
  protocol_version = "GRPC"

  health_check {
    path    = "/todo.v1.Todos/Check"
    matcher = "0-99"
  }
}

resource "aws_lb_target_group" "unchecked_calls" {
  port             = 50052
  protocol         = "HTTPS"
  protocol_version = "GRPC"
}

resource "aws_lb_target_group" "frames" {
  port             = 8443
  protocol         = "HTTPS"
  protocol_version = "HTTP2"

  health_check {
    protocol = "HTTPS"
    matcher  = "200-299"
  }
}

resource "aws_lb_listener_rule" "protocols" {
  listener_arn = aws_alb_listener.web.arn
  priority     = 900

  action {
    type = "forward"

    forward {
      target_group {
        arn = aws_lb_target_group.calls.arn
      }

      target_group {
        arn = aws_lb_target_group.unchecked_calls.arn
      }

      target_group {
        arn = aws_lb_target_group.frames.arn
      }
    }
  }

  condition {
    path_pattern {
      values = ["/protocols"]
    }
  }
}
