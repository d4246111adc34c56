"""Judges the rows of aws_flow.py: exactly those that are not left out on purpose must pass."""

import json
import sys

# The flow has this many rows; one that vanishes would otherwise look like one that passes.
ROWS = 88

LEFT_OUT = {
    "ec2.CreateVpc/Subnet/SecurityGroup": "the service never calls EC2; any subnet exists, but one that is documented",
    "servicediscovery.CreatePrivateDnsNamespace/Service": "the service never calls Cloud Map; it passes an ARN on",
}

with open(sys.argv[1], encoding="utf-8") as file:
    rows = json.load(file)

wrong = [f"{row['result']} {row['call']}: {row['detail']}" for row in rows
         if row["result"] != "PASS" and row["call"] not in LEFT_OUT]
wrong += [f"passes although it is left out on purpose, take it off the list: {row['call']}" for row in rows
          if row["result"] == "PASS" and row["call"] in LEFT_OUT]
wrong += [f"left out on purpose, but there is no such row: {name}"
          for name in LEFT_OUT if name not in {row["call"] for row in rows}]
if len(rows) != ROWS:
    wrong.append(f"{len(rows)} rows instead of {ROWS}")

for name, why in LEFT_OUT.items():
    print(f"left out: {name}: {why}")
for line in wrong:
    print(f"WRONG: {line}")
print(f"{sum(row['result'] == 'PASS' for row in rows)} of {len(rows)} rows pass, {len(LEFT_OUT)} left out, {len(wrong)} wrong")
sys.exit(bool(wrong))
