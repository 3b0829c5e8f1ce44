"""Messages as `itchfeed` encodes them.

Written is a line for each: its bytes in hexadecimal, then what they say, with `_` for blanks. Every type of ITCH 5.0
comes 50 times with random fields; of the types that say nothing about trades or orders, only the head is named.
"""

import random

from itch.messages import create_message

dice = random.Random(20261124)


def number(bits):
    """Small, large and limits alike."""
    return dice.choice([0, 1, (1 << bits) - 1, dice.getrandbits(bits), dice.getrandbits(bits // 2)])


def letter(of="ABCDEFGHIJKLMNOPQRSTUVWXYZ "):
    return dice.choice(of).encode()


def text(length):
    return "".join(dice.choice("ABCXYZ19.-") for _ in range(dice.randint(1, length))).ljust(length).encode()


def shown(value):
    return value.decode().replace(" ", "_") if isinstance(value, bytes) else str(value)


ORDER = {
    "order_reference_number": lambda: number(64),
    "buy_sell_indicator": lambda: letter("BS"),
    "shares": lambda: number(32),
    "stock": lambda: text(8),
    "price": lambda: number(32),
}
EXECUTED = {
    "order_reference_number": lambda: number(64),
    "executed_shares": lambda: number(32),
    "match_number": lambda: number(64),
}

# What a type's line says, in the order of the line.
READ = {
    "S": {"event_code": letter},
    "R": {"stock": lambda: text(8), "market_category": letter, "round_lot_size": lambda: number(32)},
    "H": {"stock": lambda: text(8), "trading_state": lambda: letter("HPQT"), "reason": lambda: text(4)},
    "A": ORDER,
    "F": ORDER | {"attribution": lambda: text(4)},
    "E": EXECUTED,
    "C": EXECUTED | {"printable": lambda: letter("YN"), "execution_price": lambda: number(32)},
    "X": {"order_reference_number": lambda: number(64), "cancelled_shares": lambda: number(32)},
    "D": {"order_reference_number": lambda: number(64)},
    "U": {
        "order_reference_number": lambda: number(64),
        "new_order_reference_number": lambda: number(64),
        "shares": lambda: number(32),
        "price": lambda: number(32),
    },
    "P": ORDER | {"match_number": lambda: number(64)},
    "Q": {
        "shares": lambda: number(64),
        "stock": lambda: text(8),
        "cross_price": lambda: number(32),
        "match_number": lambda: number(64),
        "cross_type": lambda: letter("OCHI"),
    },
    "B": {"match_number": lambda: number(64)},
}

# What else a message needs to be encoded.
REST = {
    "R": {
        "financial_status_indicator": letter,
        "round_lots_only": letter,
        "issue_classification": letter,
        "issue_sub_type": lambda: text(2),
        "short_sale_threshold_indicator": letter,
        "ipo_flag": letter,
        "luld_ref": letter,
        "etp_flag": letter,
        "etp_leverage_factor": lambda: number(32),
        "inverse_indicator": letter,
    },
    "H": {"reserved": letter},
    "Y": {"stock": lambda: text(8), "reg_sho_action": letter},
    "L": {
        "mpid": lambda: text(4),
        "stock": lambda: text(8),
        "primary_market_maker": letter,
        "market_maker_mode": letter,
        "market_participant_state": letter,
    },
    "V": {f"level{level}_price": lambda: number(64) for level in (1, 2, 3)},
    "W": {"breached_level": letter},
    "K": {
        "stock": lambda: text(8),
        "ipo_release_time": lambda: number(32),
        "ipo_release_qualifier": letter,
        "ipo_price": lambda: number(32),
    },
    "J": {
        "stock": lambda: text(8),
        "auction_collar_reference_price": lambda: number(32),
        "upper_auction_collar_price": lambda: number(32),
        "lower_auction_collar_price": lambda: number(32),
        "auction_collar_extention": lambda: number(32),
    },
    "h": {"stock": lambda: text(8), "market_code": letter, "operational_halt_action": letter},
    "I": {
        "paired_shares": lambda: number(64),
        "imbalance_shares": lambda: number(64),
        "imbalance_direction": letter,
        "stock": lambda: text(8),
        "far_price": lambda: number(32),
        "near_price": lambda: number(32),
        "current_reference_price": lambda: number(32),
        "cross_type": letter,
        "variation_indicator": letter,
    },
    "N": {"stock": lambda: text(8), "interest_flag": letter},
    "O": {
        "stock": lambda: text(8),
        "open_eligibility_status": letter,
        "minimum_allowable_price": lambda: number(32),
        "maximum_allowable_price": lambda: number(32),
        "near_execution_price": lambda: number(32),
        "near_execution_time": lambda: number(64),
        "lower_price_range_collar": lambda: number(32),
        "upper_price_range_collar": lambda: number(32),
    },
}

for kind in sorted(READ | REST):
    for _ in range(50):
        head = {
            "stock_locate": number(16),
            "tracking_number": number(16),
            "timestamp": dice.choice([0, 86_399_999_999_999, dice.randrange(86_400_000_000_000)]),
        }
        read = {field: make() for field, make in READ.get(kind, {}).items()}
        rest = {field: make() for field, make in REST.get(kind, {}).items()}
        words = [*head.values(), kind, *read.values()]
        if kind == "R":
            rest["authenticity"] = letter("PT")
            words.append(int(rest["authenticity"] == b"T"))
        message = create_message(kind.encode(), **head, **read, **rest).to_bytes()
        print(message.hex(), *map(shown, words))
