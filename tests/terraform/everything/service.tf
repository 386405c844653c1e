variable "green" {
  default = true
}

variable "partners" {
  type = string
}

variable "certificate" {}

resource "aws_ecs_service" "blue" {
  cluster         = "arn:aws:ecs:eu-central-1:123456789012:cluster/main"
  task_definition = "${aws_ecs_task_definition.blue.family}:${aws_ecs_task_definition.blue.revision}"
  desired_count   = 3

  load_balancer {
    target_group_arn = aws_alb_target_group.blue.arn
    container_name   = "app"
    container_port   = 8000
  }

  service_connect_configuration {
    enabled = true
  }
}

resource "aws_ecs_service" "worker" {
  task_definition = "worker"
}

resource "aws_ecs_task_definition" "blue" {
  family = "blue"
  cpu    = ".5 vCPU"
  memory = "1 GB"

  container_definitions = <<-JSON
    [
      {
        "name": "app",
        "image": "registry.example.com/app:1.2",
        "command": ["serve", "--listen", "0.0.0.0:8000"],
        "environment": [{ "name": "GREETING", "value": "a \"quoted\" $${HOME}" }],
        "secrets": [{ "name": "KEY", "valueFrom": "arn:aws:ssm:key" }]
      },
      { "name": "sidecar", "image": "envoy" }
    ]
  JSON
}

resource "aws_appautoscaling_target" "blue" {
  min_capacity       = 2
  max_capacity       = max(8, 4 * 3)
  resource_id        = "service/main/${aws_ecs_service.blue.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  service_namespace  = "ecs"
}

resource "aws_appautoscaling_policy" "memory" {
  name               = "memory"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace

  target_tracking_scaling_policy_configuration {
    target_value       = 60
    scale_in_cooldown  = 120
    scale_out_cooldown = 60
    disable_scale_in   = true

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageMemoryUtilizationHighResolution"
    }
  }
}

resource "aws_appautoscaling_policy" "requests" {
  name               = "requests"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = 1000

    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = "app/x/y"
    }
  }
}

resource "aws_appautoscaling_policy" "queue" {
  name               = "queue"
  policy_type        = "TargetTrackingScaling"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace

  target_tracking_scaling_policy_configuration {
    target_value = 10

    customized_metric_specification {
      metric_name = "Backlog"
    }
  }
}

resource "aws_appautoscaling_policy" "out" {
  name               = "out"
  policy_type        = "StepScaling"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace

  step_scaling_policy_configuration {
    adjustment_type          = "PercentChangeInCapacity"
    cooldown                 = 60
    metric_aggregation_type  = "Average"
    min_adjustment_magnitude = 2

    step_adjustment {
      metric_interval_lower_bound = 10
      scaling_adjustment          = 50
    }

    step_adjustment {
      metric_interval_lower_bound = 0
      metric_interval_upper_bound = 10
      scaling_adjustment          = 20
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "out" {
  alarm_name          = "out"
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  statistic           = "Average"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 70
  evaluation_periods  = 2
  period              = 60
  alarm_actions       = [aws_appautoscaling_policy.out.arn]
}

resource "aws_appautoscaling_policy" "slow" {
  name               = "slow"
  policy_type        = "StepScaling"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace

  step_scaling_policy_configuration {
    adjustment_type = "ChangeInCapacity"

    step_adjustment {
      metric_interval_upper_bound = 0
      scaling_adjustment          = -1
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "slow" {
  alarm_name          = "slow"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "TargetResponseTime"
  extended_statistic  = "p95"
  comparison_operator = "LessThanThreshold"
  threshold           = 0.05
  evaluation_periods  = 10
  period              = 60
  alarm_actions       = [aws_appautoscaling_policy.slow.arn]
}

resource "aws_appautoscaling_policy" "idle" {
  name               = "idle"
  policy_type        = "StepScaling"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace
}

resource "aws_cloudwatch_metric_alarm" "people" {
  alarm_name    = "people"
  alarm_actions = [aws_sns_topic.people.arn]
}

resource "aws_appautoscaling_scheduled_action" "evening" {
  name               = "evening"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace
  schedule           = "cron(0 18 ? * THU *)"
  timezone           = "Europe/Berlin"

  scalable_target_action {
    min_capacity = 4
    max_capacity = 10
  }
}

resource "aws_appautoscaling_scheduled_action" "once" {
  name               = "once"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace
  schedule           = "at(2027-01-01T00:30:00)"
  timezone           = "Europe/Berlin"

  scalable_target_action {
    max_capacity = 12
  }
}

resource "aws_appautoscaling_scheduled_action" "month_end" {
  name               = "month-end"
  resource_id        = aws_appautoscaling_target.blue.resource_id
  scalable_dimension = aws_appautoscaling_target.blue.scalable_dimension
  service_namespace  = aws_appautoscaling_target.blue.service_namespace
  schedule           = "cron(0 0 L * ? *)"

  scalable_target_action {
    max_capacity = 12
  }
}

resource "aws_lambda_function" "other" {
  function_name = "other"
}
