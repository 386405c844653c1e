variable "name" {}
variable "cluster" {}
variable "target_group_arn" {}
variable "port" {}
variable "image" {}
variable "limits" {}
variable "environment" { default = {} }

variable "capacity" {
  type = object({ min = number, max = number })
}

resource "aws_ecs_task_definition" "this" {
  family = var.name
  cpu    = var.limits.cpu
  memory = lookup(var.limits, "memory", 512)

  container_definitions = templatefile("${path.module}/container.json.tftpl", {
    name        = var.name
    image       = var.image
    port        = var.port
    environment = [for key, value in var.environment : { name = key, value = value }]
  })
}

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = var.cluster.id
  task_definition = aws_ecs_task_definition.this.arn
  desired_count   = var.capacity.min

  load_balancer {
    target_group_arn = var.target_group_arn
    container_name   = var.name
    container_port   = var.port
  }
}

resource "aws_appautoscaling_target" "this" {
  min_capacity       = var.capacity.min
  max_capacity       = var.capacity.max
  resource_id        = "service/${var.cluster.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  service_namespace  = "ecs"
}

resource "aws_appautoscaling_policy" "cpu" {
  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  service_namespace  = aws_appautoscaling_target.this.service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = 55

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}
