resource "aws_lb_listener" "front" {
  port = 8080
}
