# Stands for the module cluster of terraform-aws-modules/ecs/aws.

variable "name" { default = null }
variable "cluster_name" { default = null }

resource "aws_ecs_cluster" "this" {
  name = try(coalesce(var.name, var.cluster_name), null)
}

output "arn" { value = aws_ecs_cluster.this.arn }
output "id" { value = aws_ecs_cluster.this.id }
output "name" { value = aws_ecs_cluster.this.name }
output "cluster_arn" { value = aws_ecs_cluster.this.arn }
output "cluster_id" { value = aws_ecs_cluster.this.id }
output "cluster_name" { value = aws_ecs_cluster.this.name }
