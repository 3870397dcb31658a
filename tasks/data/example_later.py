"""The words of the example's later production stream: what changed after the model was trained; only data, no logic.

The story: the shop opened pickup boxes, a wallet, payment in parts, passkeys and a membership called Circle, and sells
new products. Customers write about these in words that no training row holds. Templates are written as in
`tasks.data.example_text`.
"""

RISING_INTENT = "missing_parcel"  # pickup boxes that turn out to be empty

LATER_ASKS: dict[str, tuple[str, ...]] = {
    "missing_parcel": (
        "the pickup box (opened|was open) but (it was empty|nothing was inside)",
        "box {box} was empty when I (entered|used) the (code|pin)",
        "my (code|pin) opened a (compartment|locker) with (nothing in it|no {product})",
        "the (app|locker) says collected, I (was never there|collected nothing)",
        "somebody (emptied|cleared) locker {box} before me",
        "locker {box} shows my name and holds (air|an empty bag)",
    ),
    "cancel_subscription": (
        "(take me out of|get me out of|I'm done with) Circle",
        "how can I (leave|quit) the Circle (club|thing)",
        "no Circle for me any more (from {date}|please)",
        "Circle (renewed itself|goes on and on), I want out",
    ),
    "login_problem": (
        "the passkey (is not recognised|is not offered|does nothing)",
        "my (fingerprint|face) is refused (by the app|since the update)",
        "the app (asks for|keeps wanting) a passkey I never made",
        "since the update the app (greets me as a guest|only shows the welcome page)",
    ),
    "payment_failed": (
        "pay in parts (is greyed out|says not eligible|stops at step two)",
        "the second instalment (bounced|could not be collected)",
        "splitting the {amount} into three (never finishes|ends in a red banner)",
    ),
    "refund_status": (
        "the wallet still (shows zero|is empty) after (the return|I handed in the {product})",
        "when does the {amount} (land|show up) in my wallet",
        "(pending|processing) in the wallet since {date}",
    ),
    "change_address": (
        "(reroute|redirect) {order} to pickup box {box}",
        "can the {product} go (into a locker|to the box at the station) (instead of home|)",
        "I (chose|picked) locker {box}, (make it|should have been) the one in {town}",
    ),
    "delivery_delay": (
        "(stuck at|parked at|sitting in) the {town} hub since {date}",
        "the pickup box is full, they say, so my {product} (waits in a van|circles around)",
        "still no pin for the locker, it was meant for {date}",
    ),
    "discount_code": (
        "my stars (are gone|were not counted|do not turn into money off)",
        "how many stars do I need for {percent} % (on the {product}|)",
        "Circle members get {percent} % off, not me it seems",
    ),
    "damaged_item": (
        "the {product} (loses|drops) its pairing every few minutes",
        "the {product} blinks orange and (does nothing|will not update)",
    ),
    "billing_error": (
        "three instalments agreed, four (collected|taken)",
        "the wallet was used and the card as well for the same {product}",
    ),
}

LATER_PRODUCTS: tuple[str, ...] = (
    "Nimbus 3", "Aera Buds", "Solis Lamp", "Tido Ring", "Pebble Cam", "Vanta Hub", "Loopa Bottle", "Kori Band",
)  # fmt: skip
