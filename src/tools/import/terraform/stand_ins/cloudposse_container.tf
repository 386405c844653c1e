# Stands for cloudposse/ecs-container-definition/aws.

variable "container_name" { default = null }
variable "container_image" { default = null }
variable "container_cpu" { default = null }
variable "container_memory" { default = null }
variable "command" { default = null }
variable "environment" { default = [] }
variable "map_environment" { default = null }
variable "port_mappings" { default = [] }
variable "secrets" { default = null }

locals {
  container = {
    name         = var.container_name
    image        = var.container_image
    cpu          = var.container_cpu
    memory       = var.container_memory
    command      = var.command
    portMappings = var.port_mappings
    secrets      = var.secrets
    environment  = var.map_environment == null ? var.environment : [for k, v in var.map_environment : { name = k, value = v }]
  }
}

output "json_map_encoded" { value = jsonencode(local.container) }
output "json_map_encoded_list" { value = jsonencode([local.container]) }
output "json_map_object" { value = local.container }
output "json" { value = jsonencode([local.container]) }
