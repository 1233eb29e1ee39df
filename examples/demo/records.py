"""The records of a topic: read by kcat, shown as a table."""
import json
import subprocess

HEAD, TAIL, WHOLE = 4, 2, 8
ROW = "  {:>4} {:>6}  {:<6} {:<20} {:<38} {:<10} {}"


class Record:
    """A record and the event in it."""

    def __init__(self, record):
        self.partition = record["partition"]
        self.offset = record["offset"]
        self.key = record["key"]
        headers = record.get("headers", [])
        self.headers = dict(zip(headers[::2], headers[1::2]))
        self.value = record["payload"]
        self.event = json.loads(self.value)
        self.id = self.event["id"]
        self.lsn = lsn_number(self.event["lsn"])
        self.number = int(self.id.rsplit("-", 1)[1], 16)

    def row(self):
        pk = self.event["pk"]
        # "tenant_id" repeats the key in each row of this demo
        shown = {name: pk[name] for name in pk if name != "tenant_id"}
        text = json.dumps(shown, ensure_ascii=False)
        if "data" in self.event:
            text += " " + json.dumps(self.event["data"])
        return ROW.format(
            self.partition, self.offset, self.key, self.event["type"], text,
            self.event["lsn"], f"{self.number + 1:,} of {self.event['tx']:,}")


def lsn_number(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def consume(bootstrap, topic):
    """All records of the topic, by partition and offset."""
    output = subprocess.run(
        ["kcat", "-C", "-q", "-e", "-J", "-b", bootstrap, "-t", topic,
         "-o", "beginning", "-X", "fetch.wait.max.ms=20"],
        check=True, stdout=subprocess.PIPE, start_new_session=True).stdout
    records = [Record(json.loads(line)) for line in output.splitlines()]
    return sorted(records, key=lambda record: (record.partition, record.offset))


def print_table(records, steps):
    """What is in "records", a heading for each step; long runs are cut."""
    print(ROW.format("part", "offset", "key", "type", "pk (less tenant_id)",
                     "commit LSN", "event of its tx"))
    for key in sorted({record.key for record in records}):
        print(f"\n  ---- key {key} ----")
        for step in steps:
            rows = [record for record in records
                    if record.key == key and step.first < record.lsn <= step.last]
            if not rows:
                continue
            print(f"  {step.number}. {step.title}")
            if len(rows) <= WHOLE:
                head, tail = rows, []
            else:
                head, tail = rows[:HEAD], rows[-TAIL:]
            for record in head:
                print(record.row())
            if tail:
                print(f"              ... {len(rows) - HEAD - TAIL:,} more ...")
            for record in tail:
                print(record.row())
