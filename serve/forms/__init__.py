"""The forms of requests and answers, and what the OpenAPI document says about them."""
