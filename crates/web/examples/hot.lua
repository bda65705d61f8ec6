-- A job of about 110 bytes, as producers send it.
wrk.method = "POST"
wrk.path = "/api/v1/queues/runs/jobs"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sy_live_measurement"
wrk.body = '{"payload":{"run":"01hzy7w8n4f2gs9rka6m0qdtxe","kind":"import","page":42,"url":"https://a.example/x"},"tenant":"acme"}'
