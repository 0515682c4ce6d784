"""The Ray actors: one loaded model each. The only place of `ray.remote`, and the only way to torch.

Constructors return at once; the Editor's weights load beside them, while the video is still being read. So a restarted
actor loads by itself, and a bad folder is an ordinary `WeightsError` for whoever asks for the model. Actors restart
without limit and never retry a call: the Prefect task does, and the ledger makes that cheap.
"""
