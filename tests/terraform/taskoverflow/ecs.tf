resource "aws_ecs_cluster" "main" {
  name = local.name
}

resource "aws_ecs_task_definition" "service" {
  family                   = local.name
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  cpu                      = 1024
  memory                   = 2048
  execution_role_arn       = data.aws_iam_role.lab.arn

  container_definitions = jsonencode([
    {
      name         = local.name
      image        = local.image
      cpu          = 1024
      memory       = 2048
      essential    = true
      portMappings = [{ containerPort = var.service_port, hostPort = var.service_port }]
      environment = [
        { name = "RUST_LOG", value = "info" },
        { name = "DATABASE_URL", value = "postgresql://${aws_db_instance.service.address}/todo" },
      ]
      logConfiguration = {
        logDriver = "awslogs"
        options   = { "awslogs-group" = "/${local.name}", "awslogs-region" = var.region }
      }
    },
  ])
}

resource "aws_db_instance" "service" {
  engine         = "postgres"
  instance_class = "db.t4g.micro"
}

resource "aws_ecs_service" "service" {
  name            = local.name
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.service.arn
  desired_count   = var.capacity.min
  launch_type     = "FARGATE"

  load_balancer {
    target_group_arn = aws_lb_target_group.service.arn
    container_name   = local.name
    container_port   = var.service_port
  }

  network_configuration {
    subnets         = data.aws_subnets.private.ids
    security_groups = [aws_security_group.service.id]
  }
}

resource "aws_security_group" "service" {
  name = local.name

  ingress {
    from_port       = var.service_port
    to_port         = var.service_port
    protocol        = "tcp"
    security_groups = [aws_security_group.lb.id]
  }
}
