resource "aws_lb" "edge" {
  name               = "edge"
  load_balancer_type = "network"
  subnets            = ["subnet-a"]
}

resource "aws_lb" "guarded" {
  load_balancer_type = "network"
  internal           = true
  security_groups    = [aws_security_group.offices.id]
}

resource "aws_security_group" "offices" {
  ingress {
    from_port   = 5432
    to_port     = 5432
    protocol    = "tcp"
    cidr_blocks = ["10.1.0.0/16"]
  }
}

resource "aws_lb_listener" "mqtt" {
  load_balancer_arn        = aws_lb.edge.arn
  port                     = 1883
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = 900

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.mqtt.arn
  }
}

resource "aws_lb_listener" "mqtts" {
  load_balancer_arn = aws_lb.edge.arn
  port              = 8883
  protocol          = "TLS"
  certificate_arn   = "arn:aws:acm:eu-west-1:1:certificate/mqtt"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-3-2021-06"
  alpn_policy       = "HTTP2Preferred"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.mqtt.arn
  }
}

resource "aws_lb_listener_certificate" "other" {
  listener_arn    = aws_lb_listener.mqtts.arn
  certificate_arn = "arn:aws:acm:eu-west-1:1:certificate/other"
}

# The database, for the offices.
resource "aws_lb_listener" "database" {
  load_balancer_arn = aws_lb.guarded.arn
  port              = 5432
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.database.arn
  }
}

resource "aws_lb_listener" "dns" {
  load_balancer_arn = aws_lb.edge.arn
  port              = 53
  protocol          = "TCP_UDP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.dns.arn
  }
}

resource "aws_lb_listener" "syslog" {
  load_balancer_arn = aws_lb.edge.arn
  port              = 514
  protocol          = "UDP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.syslog.arn
  }
}

# Its group is of other files.
resource "aws_lb_listener" "elsewhere" {
  load_balancer_arn = aws_lb.edge.arn
  port              = 6379

  default_action {
    type             = "forward"
    target_group_arn = var.cache_group_arn
  }
}

variable "cache_group_arn" {}

resource "aws_lb_target_group" "mqtt" {
  port                   = 1883
  protocol               = "TCP"
  target_type            = "ip"
  vpc_id                 = "vpc-1"
  proxy_protocol_v2      = true
  preserve_client_ip     = true
  connection_termination = true

  stickiness {
    type = "source_ip"
  }

  health_check {
    protocol = "HTTP"
    port     = 8080
    path     = "/ready"
  }
}

resource "aws_lb_target_group" "database" {
  port     = 5432
  protocol = "TLS"

  health_check {
    protocol            = "TCP"
    healthy_threshold   = 2
    unhealthy_threshold = 2
    interval            = 10
  }

  stickiness {
    enabled = false
    type    = "source_ip"
  }
}

resource "aws_lb_target_group" "dns" {
  port     = 53
  protocol = "TCP_UDP"
}

resource "aws_lb_target_group" "syslog" {
  port     = 514
  protocol = "UDP"
}

resource "aws_lb_target_group_attachment" "mqtt" {
  target_group_arn = aws_lb_target_group.mqtt.arn
  target_id        = "10.0.0.7"
}
