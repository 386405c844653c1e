variable "cluster_id" {}

variable "nights" {
  default = true
}

resource "aws_ecs_service" "site" {
  name            = "site"
  cluster         = var.cluster_id
  task_definition = "site:3"
  desired_count   = 9

  load_balancer {
    target_group_arn = aws_lb_target_group.site.arn
    container_name   = "site"
    container_port   = 8080
  }
}

resource "aws_ecs_task_definition" "site" {
  family = "site"

  container_definitions = jsonencode([
    {
      name  = "site"
      image = "example/site:1"
      environment = concat(
        [for name, value in { LOG = "info", MODE = "web" } : { name = name, value = value }],
        var.nights ? [{ name = "NIGHTS", value = "1" }] : [],
      )
    }
  ])
}

resource "aws_appautoscaling_target" "site" {
  min_capacity       = 2
  max_capacity       = 4
  resource_id        = "service/${var.cluster_id}/${aws_ecs_service.site.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  service_namespace  = "ecs"
}

resource "aws_appautoscaling_policy" "out" {
  name               = "out"
  policy_type        = "StepScaling"
  resource_id        = aws_appautoscaling_target.site.resource_id
  scalable_dimension = aws_appautoscaling_target.site.scalable_dimension
  service_namespace  = aws_appautoscaling_target.site.service_namespace

  step_scaling_policy_configuration {
    adjustment_type = "ChangeInCapacity"
    cooldown        = 60

    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = 1
    }
  }
}

resource "aws_appautoscaling_policy" "in" {
  name               = "in"
  policy_type        = "StepScaling"
  resource_id        = aws_appautoscaling_target.site.resource_id
  scalable_dimension = aws_appautoscaling_target.site.scalable_dimension
  service_namespace  = aws_appautoscaling_target.site.service_namespace

  step_scaling_policy_configuration {
    adjustment_type = "ChangeInCapacity"
    cooldown        = 60

    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = -1
    }
  }
}

locals {
  alarms = {
    out = { comparison = "GreaterThanOrEqualToThreshold", threshold = 80, policy = aws_appautoscaling_policy.out.arn }
    in  = { comparison = "LessThanOrEqualToThreshold", threshold = 20, policy = aws_appautoscaling_policy.in.arn }
  }
}

resource "aws_cloudwatch_metric_alarm" "cpu" {
  for_each = local.alarms

  alarm_name          = "site-${each.key}"
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  statistic           = "Maximum"
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = 2
  period              = 60
  alarm_actions       = [each.value.policy]
}

resource "aws_appautoscaling_scheduled_action" "night" {
  count              = var.nights ? 1 : 0
  name               = "night"
  resource_id        = aws_appautoscaling_target.site.resource_id
  scalable_dimension = aws_appautoscaling_target.site.scalable_dimension
  service_namespace  = aws_appautoscaling_target.site.service_namespace
  schedule           = "cron(0 22 * * ? *)"

  scalable_target_action {
    min_capacity = 0
    max_capacity = 0
  }
}

resource "aws_appautoscaling_scheduled_action" "morning" {
  name               = "morning"
  resource_id        = aws_appautoscaling_target.site.resource_id
  scalable_dimension = aws_appautoscaling_target.site.scalable_dimension
  service_namespace  = aws_appautoscaling_target.site.service_namespace
  schedule           = "cron(0 6 * * ? *)"

  scalable_target_action {
    min_capacity = 6
  }
}
