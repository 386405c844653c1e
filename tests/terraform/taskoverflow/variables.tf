variable "region" {
  type    = string
  default = "us-east-1"
}

variable "release" {
  type    = string
  default = "latest"
}

variable "service_port" {
  description = "Where the service listens."
  type        = number
  default     = 6400
}

variable "capacity" {
  type = object({ min = number, max = number })

  default = {
    min = 1
    max = 4
  }
}

variable "cpu_target" {
  type    = number
  default = 20
}
