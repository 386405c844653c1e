"""Checks the definitions of a folder against AWS's own model of the API, then registers them with the moto
at WEIR_TEST_MOTO."""

import json
import os
import pathlib
import sys

import boto3
from botocore.validate import ParamValidator

folder = pathlib.Path(sys.argv[1])


def client(service):
    return boto3.client(service, endpoint_url="http://" + os.environ["WEIR_TEST_MOTO"])


def read(name):
    return json.loads((folder / name).read_text())


def validated(client, operation, parameters):
    shape = client.meta.service_model.operation_model(operation).input_shape
    report = ParamValidator().validate(parameters, shape)
    assert not report.has_errors(), report.generate_report()
    return parameters


ecs, ec2, iam = client("ecs"), client("ec2"), client("iam")
# moto brings its own subnets and security groups.
subnets = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]]
groups = [each["GroupId"] for each in ec2.describe_security_groups()["SecurityGroups"]]
ecs.create_cluster(clusterName="todo")
names = sorted(path.name.removesuffix("-task.json") for path in folder.glob("*-task.json"))
assert names == ["taskoverflow", "weir"], names
for name in names:
    task = validated(ecs, "RegisterTaskDefinition", read(f"{name}-task.json"))
    registered = ecs.register_task_definition(**task)["taskDefinition"]
    assert registered["family"] == name and registered["networkMode"] == "awsvpc"

    service = validated(ecs, "CreateService", read(f"{name}-service.json"))
    assert service["taskDefinition"] == name and service["cluster"] == "todo"
    ports = {
        (container["name"], port["containerPort"])
        for container in task["containerDefinitions"]
        for port in container["portMappings"]
    }
    for balancer in service.get("loadBalancers", []):
        assert (balancer["containerName"], balancer["containerPort"]) in ports, balancer
    vpc = service["networkConfiguration"]["awsvpcConfiguration"]
    vpc["subnets"], vpc["securityGroups"] = subnets[:2], groups[:1]
    created = ecs.create_service(**service)["service"]
    assert created["desiredCount"] == service["desiredCount"]
iam.create_policy(PolicyName="weir", PolicyDocument=json.dumps(read("task-role.json")))
print(f"registered at moto: {', '.join(names)}")
