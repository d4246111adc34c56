"""Publishes a subnet and a security group that exist on the endpoint, in place of those that `dev seed` invented."""

import boto3

SSM_PATH = "/openclaw/dev"

# Endpoint, Region and credentials come from the environment, as for every AWS client.
ec2, ssm = boto3.client("ec2"), boto3.client("ssm")
subnets = ec2.describe_subnets()["Subnets"]
if not subnets:
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]]
subnet = subnets[0]
group = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])["SecurityGroups"][0]
for name, value in (("subnets", subnet["SubnetId"]), ("security-groups", group["GroupId"])):
    ssm.put_parameter(Name=f"{SSM_PATH}/{name}", Value=value, Type="String", Overwrite=True)
    print(f"{SSM_PATH}/{name} = {value}")
