image_tag = "7"

services = {
  cart = {
    port     = 7001
    priority = 10
    paths    = ["/cart/*"]
    health   = { path = "/ready" }
    replicas = { min = 2, max = 6 }
  }
  search = {
    port  = 7002
    paths = ["/search", "/search/*"]
  }
  worker = {
    port  = 7003
    paths = []
  }
}
