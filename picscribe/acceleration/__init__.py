"""The same network, faster on the machine at hand.

`accelerated` owns a network and its fast form; `packed`, `int8` and `convolutions` are the layers that forms are made
of, `fused` what joins them; `steps` decodes token by token, on a GPU as a replayed graph; `precision` finds
the fastest type to compute in; `depthwise` is for training in bfloat16.
"""
