# Stands for the module service of terraform-aws-modules/ecs/aws.

variable "create" { default = true }
variable "name" { default = "service" }
variable "cluster_arn" { default = null }
variable "cpu" { default = 1024 }
variable "memory" { default = 2048 }
variable "desired_count" { default = 1 }
variable "container_definitions" { default = {} }
variable "load_balancer" { default = {} }
variable "enable_autoscaling" { default = true }
variable "autoscaling_min_capacity" { default = 1 }
variable "autoscaling_max_capacity" { default = 10 }
variable "autoscaling_scheduled_actions" { default = {} }

variable "autoscaling_policies" {
  default = {
    cpu = {
      target_tracking_scaling_policy_configuration = {
        predefined_metric_specification = { predefined_metric_type = "ECSServiceAverageCPUUtilization" }
      }
    }
    memory = {
      target_tracking_scaling_policy_configuration = {
        predefined_metric_specification = { predefined_metric_type = "ECSServiceAverageMemoryUtilization" }
      }
    }
  }
}

resource "aws_ecs_task_definition" "this" {
  count = var.create ? 1 : 0

  family = var.name
  cpu    = var.cpu
  memory = var.memory

  container_definitions = jsonencode([
    for k, v in var.container_definitions : {
      name        = coalesce(try(v.name, null), k)
      image       = try(v.image, null)
      command     = try(v.command, null)
      environment = try(v.environment, null)
      cpu         = try(v.cpu, null)
      memory      = try(v.memory, null)
      secrets     = try(v.secrets, null)
    }
  ])
}

resource "aws_ecs_service" "this" {
  count = var.create ? 1 : 0

  name            = var.name
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.this[0].arn
  desired_count   = var.desired_count

  dynamic "load_balancer" {
    for_each = [for k, v in coalesce(var.load_balancer, {}) : v]
    content {
      target_group_arn = try(load_balancer.value.target_group_arn, null)
      container_name   = try(load_balancer.value.container_name, null)
      container_port   = try(load_balancer.value.container_port, null)
    }
  }
}

resource "aws_appautoscaling_target" "this" {
  count = var.create && var.enable_autoscaling ? 1 : 0

  min_capacity = var.autoscaling_min_capacity
  max_capacity = max(var.autoscaling_max_capacity, var.autoscaling_min_capacity)
  resource_id  = "service/cluster/${aws_ecs_service.this[0].name}"
}

resource "aws_appautoscaling_policy" "this" {
  for_each = var.create && var.enable_autoscaling ? coalesce(var.autoscaling_policies, {}) : {}

  policy_type = try(each.value.policy_type, "TargetTrackingScaling")
  resource_id = aws_appautoscaling_target.this[0].resource_id

  dynamic "target_tracking_scaling_policy_configuration" {
    for_each = [for v in [try(each.value.target_tracking_scaling_policy_configuration, null)] : v if v != null]
    iterator = tracking
    content {
      target_value       = try(tracking.value.target_value, 75)
      disable_scale_in   = try(tracking.value.disable_scale_in, null)
      scale_in_cooldown  = try(tracking.value.scale_in_cooldown, 300)
      scale_out_cooldown = try(tracking.value.scale_out_cooldown, 60)

      dynamic "predefined_metric_specification" {
        for_each = [for v in [try(tracking.value.predefined_metric_specification, null)] : v if v != null]
        content {
          predefined_metric_type = predefined_metric_specification.value.predefined_metric_type
        }
      }

      dynamic "customized_metric_specification" {
        for_each = [for v in [try(tracking.value.customized_metric_specification, null)] : v if v != null]
        content {
          metric_name = try(customized_metric_specification.value.metric_name, null)
        }
      }
    }
  }
}

resource "aws_appautoscaling_scheduled_action" "this" {
  for_each = var.create && var.enable_autoscaling ? coalesce(var.autoscaling_scheduled_actions, {}) : {}

  resource_id = aws_appautoscaling_target.this[0].resource_id
  schedule    = each.value.schedule
  timezone    = try(each.value.timezone, null)

  scalable_target_action {
    min_capacity = each.value.min_capacity
    max_capacity = each.value.max_capacity
  }
}

output "name" { value = aws_ecs_service.this[0].name }
output "id" { value = aws_ecs_service.this[0].id }
output "task_definition_arn" { value = aws_ecs_task_definition.this[0].arn }
output "task_definition_family" { value = aws_ecs_task_definition.this[0].family }
