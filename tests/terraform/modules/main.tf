terraform {
  required_version = ">= 1.3"
}

variable "environment" {
  type    = string
  default = "staging"
}

variable "services" {
  type = map(object({
    port     = number
    priority = optional(number, 500)
    paths    = list(string)
    health   = optional(object({ path = optional(string, "/ping"), interval = optional(number, 15) }), {})
    replicas = optional(object({ min = number, max = number }), { min = 1, max = 2 })
  }))
}

variable "image_tag" {}

locals {
  prefix  = "shop-${var.environment}"
  public  = { for name, service in var.services : name => service if length(service.paths) > 0 }
  networks = concat(["0.0.0.0/0"], [])
}

resource "aws_ecs_cluster" "this" {
  name = local.prefix
}

module "balancer" {
  source = "./modules/balancer"

  name     = local.prefix
  networks = local.networks
  services = local.public
  vpc_id   = data.aws_vpc.default.id
}

module "service" {
  source   = "./modules/service"
  for_each = local.public

  name             = "${local.prefix}-${each.key}"
  cluster          = aws_ecs_cluster.this
  target_group_arn = module.balancer.target_groups[each.key].arn
  port             = each.value.port
  image            = format("registry.example.com/%s:%s", each.key, var.image_tag)
  limits           = merge({ cpu = 256, memory = 512 }, { memory = 1024 })
  capacity         = each.value.replicas
  environment = {
    STAGE = upper(var.environment)
    PORT  = each.value.port
    PORT  = tostring(each.value.port)
  }
}

data "aws_vpc" "default" {
  default = true
}

output "address" {
  value = module.balancer.dns_name
}
