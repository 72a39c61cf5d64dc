"""How a task of AWS Batch comes to its script, which holds secrets: out of a bucket, by the role of its job.

`FETCH` is a program for a bare Python, which signs one request as Amazon demands (Signature Version 4). Nothing in it, nor in its
arguments, is to be kept secret: whoever may describe jobs can read them.
"""

from typing import Final

FETCH: Final = """\
import datetime, hashlib, hmac, json, os, sys, time, urllib.parse, urllib.request
bucket, key, region, digest = sys.argv[1:5]
def get(url, **headers):
    for left in range(5, -1, -1):
        try:
            request = urllib.request.Request(url, headers={name.replace("_", "-"): text for name, text in headers.items()})
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read()
        except OSError:
            if not left:
                raise
            time.sleep(2 ** (5 - left))
def role():
    base, full = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not base and not full:
        sys.exit("this task has no role: give --batch-option job-role=ARN")
    token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    return json.loads(get(full or "http://169.254.170.2" + base, **({"Authorization": token} if token else {})))
def sign(who, host, path, now):
    day, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": host, "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(), "x-amz-date": stamp}
    if who.get("Token"):
        headers["x-amz-security-token"] = who["Token"]
    names = ";".join(sorted(headers))
    lines = ["GET", path, "", *("%s:%s" % (name, headers[name]) for name in sorted(headers)), "", names, headers["x-amz-content-sha256"]]
    scope = "/".join((day, region, "s3", "aws4_request"))
    text = "\\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256("\\n".join(lines).encode()).hexdigest()))
    secret = ("AWS4" + who["SecretAccessKey"]).encode()
    for part in (day, region, "s3", "aws4_request"):
        secret = hmac.new(secret, part.encode(), "sha256").digest()
    parts = (who["AccessKeyId"], scope, names, hmac.new(secret, text.encode(), "sha256").hexdigest())
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % parts
    return headers
def main():
    host = "s3.%s.%s" % (region, "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com")
    path = "/" + urllib.parse.quote(bucket + "/" + key, safe="/~")
    now = datetime.datetime.now(datetime.timezone.utc)
    script = get("https://" + host + path, **sign(role(), host, path, now))
    if hashlib.sha256(script).hexdigest() != digest:
        sys.exit("the script in the bucket is not the one that was put there")
    place = os.memfd_create("script", 0)
    with open(place, "wb", closefd=False) as stream:
        stream.write(script)
    os.execv("/bin/sh", ["/bin/sh", "/proc/self/fd/%d" % place])
if __name__ == "__main__":
    main()
"""
