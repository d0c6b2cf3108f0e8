"""Alerts: a person hears of an incident once, with its cause and evidence, and always hears of its end.

Facts and the fleet as shown go in (`observe`), the book of alerts is kept (`policy`), notifications come out, wait in a durable
queue (`outbox`) and are handed to receivers (`notifiers`). All but `service`, `dispatch`, `http` and the notifiers is pure.
"""
