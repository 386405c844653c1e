module "older_group" {
  source = "terraform-aws-modules/security-group/aws"

  ingress_cidr_blocks = ["10.0.0.0/8"]
  ingress_rules       = ["http-80-tcp"]
}

module "older" {
  source  = "terraform-aws-modules/alb/aws"
  version = "~> 8.0"

  create_security_group = false
  security_groups       = [module.older_group.security_group_id]

  http_tcp_listeners = [
    {
      port               = 80
      protocol           = "HTTP"
      target_group_index = 1
    },
  ]

  http_tcp_listener_rules = [
    {
      http_tcp_listener_index = 0
      priority                = 9
      actions                 = [{ type = "forward", target_group_index = 0 }]
      conditions              = [{ path_patterns = ["/a/*"] }]
    },
  ]

  target_groups = [
    {
      backend_protocol = "HTTP"
      backend_port     = 81
      targets = {
        one = { target_id = "10.9.0.8", port = 82 }
      }
    },
    {
      backend_protocol = "HTTP"
      backend_port     = 83
    },
  ]
}

module "vpc" {
  source = "terraform-aws-modules/vpc/aws"
}
