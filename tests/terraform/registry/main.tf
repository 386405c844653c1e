module "alb" {
  source  = "terraform-aws-modules/alb/aws"
  version = "~> 9.0"

  name    = "office"
  subnets = ["subnet-1", "subnet-2"]

  security_group_ingress_rules = {
    http = {
      from_port   = 80
      ip_protocol = "tcp"
      cidr_ipv4   = "0.0.0.0/0"
    }
  }

  listeners = {
    web = {
      port     = 80
      protocol = "HTTP"

      forward = {
        target_group_key = "desk"
      }

      rules = {
        printer = {
          priority = 3
          actions = [{
            type = "weighted-forward"
            target_groups = [
              { target_group_key = "printer", weight = 3 },
              { target_group_key = "desk", weight = 1 },
            ]
          }]
          conditions = [{
            path_pattern = { values = ["/print/*"] }
          }]
        }

        gone = {
          actions = [{
            type         = "fixed-response"
            content_type = "text/plain"
            status_code  = 410
          }]
          conditions = [{
            host_header = { values = ["fax.example.com"] }
          }]
        }
      }
    }

    moved = {
      port     = 8080
      protocol = "HTTP"
      redirect = {
        port        = "80"
        status_code = "HTTP_302"
      }
    }
  }

  target_groups = {
    desk = {
      backend_protocol  = "HTTP"
      backend_port      = 3000
      target_type       = "ip"
      create_attachment = false

      health_check = {
        path    = "/status"
        matcher = "200-299"
      }
    }

    printer = {
      protocol  = "HTTP"
      port      = 631
      target_id = "10.9.0.4"
    }
  }
}

module "ecs" {
  source = "git::https://github.com/terraform-aws-modules/terraform-aws-ecs.git?ref=v5.11.0"

  cluster_name = "office"

  services = {
    desk = {
      cpu    = 512
      memory = 1024

      autoscaling_max_capacity = 5

      container_definitions = {
        desk = {
          image         = "example/desk:2"
          port_mappings = [{ containerPort = 3000 }]
          environment   = [{ name = "ROOM", value = "4" }]
        }
      }

      load_balancer = {
        service = {
          target_group_arn = module.alb.target_groups["desk"].arn
          container_name   = "desk"
          container_port   = 3000
        }
      }
    }
  }
}
