variable "certificate_arn" {}
variable "listener_arn" {}

variable "fleets" {
  type    = list(string)
  default = ["mail", "chat"]
}

resource "aws_security_group" "world" {
  ingress = [
    {
      description      = "all clients"
      from_port        = 80
      to_port          = 80
      protocol         = "tcp"
      cidr_blocks      = ["0.0.0.0/0"]
      ipv6_cidr_blocks = []
      prefix_list_ids  = []
      security_groups  = []
      self             = false
    },
    {
      description      = "all clients"
      from_port        = 443
      to_port          = 443
      protocol         = "tcp"
      cidr_blocks      = ["0.0.0.0/0"]
      ipv6_cidr_blocks = []
      prefix_list_ids  = []
      security_groups  = []
      self             = false
    },
  ]
}

resource "aws_lb" "public" {
  security_groups = [aws_security_group.world.id]
}

resource "aws_lb" "fleet" {
  count           = length(var.fleets)
  name            = "fleet-${var.fleets[count.index]}"
  security_groups = aws_security_group.world.*.id
}

resource "aws_lb" "packets" {
  load_balancer_type = "network"
}

resource "aws_lb_listener" "plain" {
  load_balancer_arn = aws_lb.public.arn
  port              = "80"
  protocol          = "HTTP"

  default_action {
    type = "redirect"
    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "encrypted" {
  load_balancer_arn = aws_lb.public.arn
  port              = "443"
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type = "forward"

    forward {
      target_group {
        arn    = aws_lb_target_group.site.arn
        weight = 4
      }
      target_group {
        arn    = aws_lb_target_group.function.arn
        weight = 1
      }
    }
  }
}

resource "aws_lb_listener" "fleet" {
  count             = length(var.fleets)
  load_balancer_arn = aws_lb.fleet[count.index].arn
  port              = 80

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.fleet[count.index].arn
  }
}

resource "aws_lb_listener" "packets" {
  load_balancer_arn = aws_lb.packets.arn
  port              = 5432
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.site.arn
  }
}

resource "aws_lb_listener_rule" "files" {
  listener_arn = "${aws_lb_listener.encrypted.arn}"

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.machines.arn
  }

  condition {
    field  = "path-pattern"
    values = ["/files/*"]
  }

  condition {
    field  = "host-header"
    values = ["files.example.com"]
  }
}

resource "aws_lb_listener_rule" "first" {
  listener_arn = aws_lb_listener.encrypted.arn
  priority     = 7

  action {
    type = "authenticate-oidc"
    authenticate_oidc {
      issuer = "https://login.example.com"
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.site.arn
  }

  condition {
    path_pattern {
      values = ["/private/*"]
    }
  }
}

resource "aws_lb_listener_rule" "help" {
  count        = 2
  listener_arn = aws_lb_listener.encrypted.arn
  priority     = 20 + count.index

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.site.arn
  }

  condition {
    path_pattern {
      values = ["/${element(["help", "support"], count.index)}/*"]
    }
  }
}

resource "aws_lb_listener_rule" "elsewhere" {
  listener_arn = var.listener_arn
  priority     = 5

  action {
    type             = "forward"
    target_group_arn = data.aws_lb_target_group.old.arn
  }

  condition {
    host_header {
      values = ["old.example.com"]
    }
  }
}

resource "aws_lb_target_group" "site" {
  port     = 8080
  protocol = "HTTP"
}

resource "aws_lb_target_group" "function" {
  target_type = "lambda"
}

resource "aws_lb_target_group" "fleet" {
  count    = length(var.fleets)
  port     = 9000 + count.index
  protocol = "HTTP"
}

resource "aws_lb_target_group" "machines" {
  port     = 8000
  protocol = "HTTP"
}

resource "aws_lb_target_group_attachment" "fleet" {
  for_each = {
    for pair in setproduct(range(length(var.fleets)), ["10.0.1.7", "10.0.1.8"]) :
    "${pair[0]}-${pair[1]}" => { group = pair[0], address = pair[1] }
  }

  target_group_arn = aws_lb_target_group.fleet[each.value.group].arn
  target_id        = each.value.address
}

resource "aws_autoscaling_group" "workers" {
  min_size          = 1
  max_size          = 3
  target_group_arns = [aws_lb_target_group.machines.arn]
}

data "aws_lb_target_group" "old" {
  name = "old"
}
