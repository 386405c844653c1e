# Stands for cloudposse/ecs-alb-service-task/aws.

variable "name" { default = "service" }
variable "ecs_cluster_arn" { default = null }
variable "desired_count" { default = 1 }
variable "task_cpu" { default = 256 }
variable "task_memory" { default = 512 }
variable "container_definition_json" { default = null }
variable "container_port" { default = 80 }
variable "alb_security_group" { default = null }
variable "ecs_load_balancers" { default = [] }

resource "aws_ecs_task_definition" "default" {
  family                = var.name
  cpu                   = var.task_cpu
  memory                = var.task_memory
  container_definitions = var.container_definition_json
}

resource "aws_ecs_service" "default" {
  name            = var.name
  cluster         = var.ecs_cluster_arn
  task_definition = aws_ecs_task_definition.default.arn
  desired_count   = var.desired_count

  dynamic "load_balancer" {
    for_each = var.ecs_load_balancers
    content {
      target_group_arn = try(load_balancer.value.target_group_arn, null)
      container_name   = try(load_balancer.value.container_name, null)
      container_port   = try(load_balancer.value.container_port, var.container_port)
    }
  }
}

output "service_name" { value = aws_ecs_service.default.name }
output "service_arn" { value = aws_ecs_service.default.id }
output "task_definition_family" { value = aws_ecs_task_definition.default.family }
