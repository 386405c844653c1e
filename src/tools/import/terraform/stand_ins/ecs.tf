# Stands for terraform-aws-modules/ecs/aws: a cluster and its services.

variable "name" { default = null }
variable "cluster_name" { default = null }
variable "services" { default = {} }

module "cluster" {
  source = "terraform-aws-modules/ecs/aws//modules/cluster"

  name = try(coalesce(var.cluster_name, var.name), null)
}

module "service" {
  source   = "terraform-aws-modules/ecs/aws//modules/service"
  for_each = var.services

  create                        = try(each.value.create, null)
  name                          = coalesce(try(each.value.name, null), each.key)
  cluster_arn                   = module.cluster.arn
  cpu                           = try(each.value.cpu, null)
  memory                        = try(each.value.memory, null)
  desired_count                 = try(each.value.desired_count, null)
  container_definitions         = try(each.value.container_definitions, null)
  load_balancer                 = try(each.value.load_balancer, null)
  enable_autoscaling            = try(each.value.enable_autoscaling, null)
  autoscaling_min_capacity      = try(each.value.autoscaling_min_capacity, null)
  autoscaling_max_capacity      = try(each.value.autoscaling_max_capacity, null)
  autoscaling_policies          = try(each.value.autoscaling_policies, null)
  autoscaling_scheduled_actions = try(each.value.autoscaling_scheduled_actions, null)
}

output "cluster_arn" { value = module.cluster.arn }
output "cluster_id" { value = module.cluster.id }
output "cluster_name" { value = module.cluster.name }
output "services" { value = module.service }
