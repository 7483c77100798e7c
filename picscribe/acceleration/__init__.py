"""The same network, faster on the machine at hand.

`accelerated` owns a network and its fast form, which is made of the layers in `fused`, `int8` or `int8_convolutions`;
`steps` decodes token by token on a GPU, as a replayed graph; `precision` finds the fastest type to compute in;
`depthwise` is for training in bfloat16.
"""
